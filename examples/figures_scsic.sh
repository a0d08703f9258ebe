#!/bin/sh
# SC-SIC (arXiv:2507.17416): figure 4 beside JPEG 2000 + LDPC 1/2 + 16-QAM with its outage scores, the ablations of figure 8, and table 2,
# how much each send differs.
#   examples/figures_scsic.sh [OUT]                       two photographs, half an hour on a CPU
#   FULL=1 examples/figures_scsic.sh OUT CITYSCAPES       a folder of 100 images, scaled to 512x512; 25 sends; FID
# PRESET=NAME or folder: of another preset than nano.
# OUT/report.html; OUT/8a/report.html, OUT/8b/report.html; OUT/512/predictability.md, OUT/1024/predictability.md.
# 8a compares with stage B before it was fine-tuned, a preset that is not shipped: `gencomm train scsic --data PHOTOS --out RUN` makes
# it beside nano, as RUN/models/scsic/nano-plain. PLAIN=FOLDER names it; without PLAIN 8a is left out.
# GESCO and Img2Img-SC: METHODS may hold images that they made, of the same names and 512x512 (GESCO's own are 256x512), as
# folder:gesco/{snr}dB/{repeat}, where {repeat} is 0, 1, ... for the sends of table 2; figure 4 takes 0. LARGE is METHODS at 1024x1024.
# Table 2 needs `gencomm models get lpips-alex`, FID `gencomm models get inception`.
set -eu
here=$(dirname "$0")
out=${1:-figures_scsic}
scsic=scsic${PRESET:+@$PRESET}
methods=${METHODS:-$scsic,$scsic:coarse,textguided,diffjscc}
large=${LARGE:-$scsic,$scsic:coarse,textguided,diffjscc}

if [ -n "${FULL:-}" ]; then
    image=$(find "$2" -name '*.png' ! -path '*/gt[FC]*' | sort | head -n 1)         # none of Cityscapes' maps of labels
    set -- "$2"
    snr=1,5,10,15,20 few=1,5,10,15,20 sends=25
else
    image=$here/kodim23.png
    set -- "$here/kodim19.png" "$here/kodim23.png"
    snr=1,10,20 few=1 sends=3
fi
rate=0.00148                                                                 # SC-SIC's own 0.00146, and the gain

gencomm bench run "$@" --out "$out" --protocol scsic --methods "$methods" --snr "$snr"
gencomm bench run "$@" --out "$out" --protocol scsic --methods separate:jpeg2000 --modulation 16qam --code-rate 1/2 --snr "$snr" \
    ${FULL:+--fid}
gencomm bench report "$out"

if [ -n "${PLAIN:-}" ]; then                                                 # figure 8a: not fine-tuned
    gencomm bench run "$@" --out "$out/8a" --protocol scsic --methods "$scsic,scsic@$PLAIN" --snr 1,5,10,15,20 \
        ${FULL:+--fid}
    gencomm bench report "$out/8a"
fi

gencomm bench run "$@" --out "$out/8b" --protocol scsic:1024 --methods "$scsic,$scsic:coarse" --snr "$snr" \
    ${FULL:+--fid}                                                             # figure 8b: [16, 24, 24] and [16, 32, 32]
gencomm bench report "$out/8b"

gencomm bench predictability "$image" --out "$out/512" --methods "$methods" --cbr "$rate" --prepare stretch:512 \
    --snr "$few" --sends "$sends"
gencomm bench predictability "$image" --out "$out/1024" --methods "$large" --cbr "$rate" --prepare stretch:1024 \
    --snr "$few" --sends "$sends"
