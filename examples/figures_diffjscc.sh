#!/bin/sh
# DiffJSCC (arXiv:2404.17736), figures 4 to 6, and its ablations: guidance weight (figure 5), conditions (12, right) and steps (14).
#   examples/figures_diffjscc.sh [OUT]                       one photograph, about ten minutes: OUT/report.html, OUT/ablations/report.html
#   FULL=1 examples/figures_diffjscc.sh OUT KODAK            Kodak, each image sent five times; FID over half-overlapping 256x256 patches
# The classical baselines run in the paper's modes. METHODS may hold others, as diffjscc@FOLDER-adv:coarse for DeepJSCC-adv, or finished
# images, as folder:DIR/{snr}dB. CAPTIONER=hf:FOLDER captions the originals, whose words are sent and counted.
# ABLATED=LIST has the ablations of other presets, as diffjscc@FOLDER.
# BPG: CODEC=bpg where bpgenc and bpgdec are installed; CODEC=hevc (extra) is its core; AVIF stands in for it.
set -eu
here=$(dirname "$0")
out=${1:-figures_diffjscc}
methods=${METHODS:-diffjscc,diffjscc:coarse}
codec=${CODEC:-avif}
sweep() { gencomm bench run "$@" --out "$out" --protocol diffjscc; }
ablated=${ABLATED:-diffjscc,diffjscc:coarse}
ablate() { gencomm bench run "$images" $points --out "$out/ablations" --methods "$ablated" --cbr 1/384,1/96 "$@"; }

if [ -n "${FULL:-}" ]; then
    images=$2
    set -- "$images"
    rates=1/384,1/192,1/96,1/48 points="--snr 1,4,7,10,13 --protocol diffjscc"
    sweep "$@" --methods "$methods"                                          # figures 4 and 5
    sweep "$@" --methods "$methods" --channels block --cbr 1/192,1/48        # figure 6
else
    images=$here/kodim23.png
    set -- "$images" --repeats 2
    rates=1/96,1/48 points="--snr 1,10"
    sweep "$@" --methods "$methods" --snr 1,10 --cbr 1/96,1/48
fi
sweep "$@" --methods "separate:$codec" --snr 1 --cbr "$rates" --modulation bpsk --code-rate 2/3
sweep "$@" --methods "separate:$codec" --snr 10 --cbr "$rates" --modulation 16qam --code-rate 1/2
sweep "$@" --methods "separate:$codec:capacity" --snr 1,10 --cbr "$rates${FULL:+,0.0377}" ${FULL:+--fid}
gencomm bench report "$out"

ablate --option guidance-lambda=0,10,50,100,4915.2                   # 4915.2 is a tenth of C*H*W of nano's latent at 768x512
ablate --steps 5,10,20,25,50,100 --cbr 1/384
ablate --option condition=spatial,spatial+csi,spatial+csi+text,spatial+text,csi+text,none
ablate --methods "${ABLATED:-diffjscc}" --prompts "${CAPTIONER:-builtin}" ${FULL:+--fid}
gencomm bench report "$out/ablations"
