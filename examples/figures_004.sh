#!/bin/sh
# Paper 004 (SC-SIC), figure 4 and table 2: JPEG 2000 + LDPC 1/2 + 16-QAM with its outage scores, and how much each send differs.
#   examples/figures_004.sh [OUT]                       two photographs, a few minutes: OUT/report.html, OUT/predictability.md
#   FULL=1 examples/figures_004.sh OUT CITYSCAPES       100 images scaled to 512x512; 25 sends
# All at SC-SIC's rate, 0.00146. GESCO and Img2Img-SC: add images that they made, of the same names and
# 512x512, as folder:gesco/{snr}dB to METHODS. Table 2 needs `gencomm models get lpips-alex`.
set -eu
here=$(dirname "$0")
out=${1:-figures_004}
methods=${METHODS:-scsic,scsic:coarse,textguided}
sweep() { gencomm bench run "$@" --out "$out" --protocol 004; }

if [ -n "${FULL:-}" ]; then
    sweep "$2" --methods "$methods"
    sweep "$2" --methods separate:jpeg2000 --modulation 16qam --code-rate 1/2 --fid
    image=$(find "$2" -name '*.png' | sort | head -n 1)
    gencomm bench predictability "$image" --out "$out" --methods "$methods" --cbr 0.00146 \
        --prepare stretch:512 --sends 25
else
    sweep "$here/kodim19.png" "$here/kodim23.png" --methods "$methods" --snr 1,10,20
    sweep "$here/kodim19.png" "$here/kodim23.png" --methods separate:jpeg2000 --modulation 16qam --code-rate 1/2 --snr 1,10,20
    gencomm bench predictability "$here/kodim23.png" --out "$out" --methods "$methods" --cbr 0.00146 \
        --prepare stretch:512 --snr 1,20 --sends 4
fi
gencomm bench report "$out"
