#!/bin/sh
# textguided (arXiv:2510.21299), figures 3 to 6: quality against SNR and against CBR, over AWGN and Rayleigh, on 256x256 centre crops.
#   examples/figures_textguided.sh [OUT]                       two photographs, a minute or two: OUT/report.html
#   FULL=1 examples/figures_textguided.sh OUT KODAK            all points, steps and prompts; FID and KID need `gencomm models get inception`
# KODAK is a folder of images with captions.tsv (file name, tab, caption). LPIPS and DISTS need `gencomm models get lpips-alex`, `dists`.
# Every rate is a total here, prompt included, so that separate is compared at equal cost. The paper leaves the prompt out: TOTAL= does
# so, and is what presets of the paper's recipes are trained for.
# METHODS=LIST takes others: textguided@FOLDER for such a preset; jscc@FOLDER for MambaJSCC and SwinJSCC (`gencomm train jscc --config
# mambajscc`, `swinjscc`); diffjscc, which had 100 steps in the paper (--steps 100, in a bench of its own into OUT); or images that others
# made, of the same names, as folder:swinjscc/{channel}/{snr}dB. ABLATED=textguided@FOLDER has figure 2 and the steps of such a preset.
# CAPTIONER=openai:gpt-4o, or hf:FOLDER, writes the prompts; captions.tsv is of whole photographs, of which the 256x256 centre is sent.
set -eu
here=$(dirname "$0")
out=${1:-figures_textguided}
sweep() { gencomm bench run "$@" --out "$out" --protocol textguided ${TOTAL---total}; }

if [ -n "${FULL:-}" ]; then
    methods=${METHODS:-textguided,textguided:coarse,separate:avif,separate:jpeg2000,separate:avif:capacity}
    sweep "$2" --methods "$methods" --prompts "${CAPTIONER:-own}"
    sweep "$2" --methods "${ABLATED:-textguided}" --snr 10 --cbr 0.0033 --prompts "none,${CAPTIONER:-own,wrong}"
    sweep "$2" --methods "${ABLATED:-textguided}" --snr 10 --cbr 0.0033 --prompts "${CAPTIONER:-own}" --steps 1,5,20 --fid
else
    sweep "$here/kodim19.png" "$here/kodim23.png" --methods textguided,textguided:coarse,separate:avif:capacity \
        --snr 1,5,10 --cbr 0.0033 --channels awgn --prompts own
fi
gencomm bench report "$out"
