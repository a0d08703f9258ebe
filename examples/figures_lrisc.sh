#!/bin/sh
# LRISC (arXiv:2504.21577), figures 4 and 5: PSNR and LPIPS against SNR and against CBR, over AWGN; and what the allocation of rates is worth.
# Figure 6: what arrives at each SNR, OUT/figure6_PHOTO_SNRdB.png: the original, the coarse and the refined picture side by side.
#   examples/figures_lrisc.sh [OUT]                       two photographs, some minutes: OUT/report.html
#   FULL=1 examples/figures_lrisc.sh OUT KODAK            Kodak, -5 to 20 dB, CBR 0.0033 to 0.0417
#   PHOTOS="a.png b.png", PRESET=NAME or folder, UNIFORM=lrisc@PRESET: other photographs and presets
# lrisc@nano-uniform is the same network with the same rate everywhere and no side symbols; every rate counts image + side.
# What it lacks: the SNRs and CBRs of the paper's figures, which are not legible, and its photographs, which are not named. DeepJSCC is
# the code of diffjscc before its diffusion (up to CBR 0.0208); DEEPJSCC=jscc@FOLDER for Bourtsoulatze's layers, which
# `gencomm train jscc --config deepjscc-1-96` trains. LPIPS needs weights: `gencomm models get lpips-alex`, or their folder in
# GENCOMM_METRIC_WEIGHTS. BPG: CODEC=bpg where bpgenc and bpgdec are installed; AVIF stands in for it.
set -eu
here=$(dirname "$0")
out=${1:-figures_lrisc}
lrisc=lrisc${PRESET:+@$PRESET}
ours=$lrisc,$lrisc:coarse,${UNIFORM:-lrisc@nano-uniform}
deepjscc=${DEEPJSCC:-diffjscc:coarse} separate=separate:${CODEC:-avif},separate:${CODEC:-avif}:capacity
photos=${PHOTOS:-$here/kodim19.png $here/kodim23.png}
sweep() { gencomm bench run "$@" --out "$out"; }

if [ -n "${FULL:-}" ]; then
    set -- "$2"
    snr=-5,0,5,10,15,20 rates=0.0033,1/96,1/48,0.0417
else
    set -- $photos
    snr=0,10 rates=0.0033,1/48
fi
sweep "$@" --methods "$ours,$deepjscc,$separate" --snr "$snr" --cbr 1/96         # figure 4
sweep "$@" --methods "$ours,$separate" --snr 10 --cbr "$rates"                   # figure 5
sweep "$@" --methods "$deepjscc" --snr 10 --cbr "${rates%,0.0417}"               # what DeepJSCC has of it
gencomm bench report "$out"

for photo in $photos; do                                                          # figure 6
    for at in 0 5 10 15; do
        name=$out/figure6_$(basename "$photo" .png)_${at}dB
        gencomm roundtrip "$photo" -o "$name.rx.png" --method lrisc ${PRESET:+--preset "$PRESET"} --cbr 1/96 --snr "$at" \
            --compare "$name.png" >/dev/null
    done
done
