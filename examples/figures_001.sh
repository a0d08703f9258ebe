#!/bin/sh
# Paper 001 (DiffJSCC), figures 4 to 6: the classical baselines with the paper's modes, and textguided at the paper's points.
#   examples/figures_001.sh [OUT]                       one photograph, a few minutes: OUT/report.html
#   FULL=1 examples/figures_001.sh OUT KODAK            Kodak, each image sent five times; FID over half-overlapping 256x256 patches
# DiffJSCC's own curve: put its name into METHODS when `gencomm encode --help` lists it, or images that it made, as folder:diffjscc/{snr}dB.
# BPG: CODEC=bpg where bpgenc and bpgdec are installed; CODEC=hevc (extra) is its core; AVIF stands in for it.
set -eu
here=$(dirname "$0")
out=${1:-figures_001}
methods=${METHODS:-textguided,textguided:coarse}
codec=${CODEC:-avif}
sweep() { gencomm bench run "$@" --out "$out" --protocol 001; }

if [ -n "${FULL:-}" ]; then
    set -- "$2"
    rates=1/384,1/192,1/96,1/48
    sweep "$@" --methods "$methods"                                          # figures 4 and 5
    sweep "$@" --methods "$methods" --channels block --cbr 1/192,1/48        # figure 6
else
    set -- "$here/kodim23.png" --repeats 2
    rates=1/96,1/48
    sweep "$@" --methods "$methods" --snr 1,10 --cbr 1/96,1/48
fi
sweep "$@" --methods "separate:$codec" --snr 1 --cbr "$rates" --modulation bpsk --code-rate 2/3
sweep "$@" --methods "separate:$codec" --snr 10 --cbr "$rates" --modulation 16qam --code-rate 1/2
sweep "$@" --methods "separate:$codec:capacity" --snr 1,10 --cbr "$rates" ${FULL:+--fid}
gencomm bench report "$out"
