#!/bin/sh
# DiffCom (arXiv:2406.07390), figures 7, 9, 10 and 11: HiFi-DiffCom against the coarse image of its own codec.
#   7: quality against CBR at 10 dB, and against SNR at CBR 1/48, over AWGN; AVIF and an LDPC code beside
#   9, 11: OUT/figure9_SNRdB.png, OUT/figure11_….png: the original, the coarse and the refined picture side by side
#   10: over multipath with CSI estimated from pilots, at CBR 1/48: (a) against SNR, (b) against the clip ratio at 10 dB
#   examples/figures_diffcom.sh [OUT]                       one photograph, some minutes: OUT/report.html
#   FULL=1 examples/figures_diffcom.sh OUT KODAK            Kodak, each image sent three times, with FID: many hours without a GPU
#   PHOTO=a.png, SIZE=128, PRESET=NAME or folder: another photograph, size and preset; nano-swinjscc and nano-ntscc have other codecs
# Images of 7 and 10 are fitted to 256x256: the shorter side scaled, then the centre.
# What it lacks: FFHQ (name its folder); GMM-Attn, HiFiC, CDC and MS-ILLM with 5G LDPC, whose pictures MORE may hold as
# folder:DIR/{cbr}. MORE=separate:vtm,separate:bpg where these programs are installed; separate:hyperprior where
# GENCOMM_HYPERPRIOR names CompressAI's weights; jscc@FOLDER a codec alone, which `gencomm train jscc` trains (pdjscc-1-48 is
# PDJSCC's loss on SwinJSCC's networks). DISTS and FID need weights.
set -eu
here=$(dirname "$0")
out=${1:-figures_diffcom}
diffcom=diffcom${PRESET:+@$PRESET}
methods=$diffcom,$diffcom:coarse beside=separate:avif${MORE:+,$MORE}
photo=${PHOTO:-$here/kodim05.png}
sweep() { gencomm bench run "$@" --out "$out" --prepare "fit:${SIZE:-256}"; }
picture() {
    name=$out/$1
    shift
    gencomm roundtrip "$photo" -o "$name.rx.png" --method diffcom ${PRESET:+--preset "$PRESET"} --compare "$name.png" "$@" >/dev/null
}

if [ -n "${FULL:-}" ]; then
    set -- "$2" --repeats 3
    snr=0,2.5,5,7.5,10,12.5,15 rates=1/96,1/48,1/24,1/16 clips="2 1.6 1.4 1.2 1 0.8"
else
    set -- "$photo"
    snr=0,10 rates=1/48,1/16 clips="1.2 0.8"
fi
channels=multipath
for clip in $clips; do channels=$channels,multipath:clip=$clip; done
sweep "$@" --methods "$methods,$beside" --snr 10 --cbr "$rates" ${FULL:+--fid}                                 # figure 7, above
sweep "$@" --methods "$methods,$beside" --snr "$snr" --cbr 1/48 ${FULL:+--fid}                                 # figure 7, below
sweep "$@" --methods "$methods" --cbr 1/48 --csi estimated --channels multipath --snr "$snr"                         # figure 10a
sweep "$@" --methods "$methods" --cbr 1/48 --csi estimated --channels "$channels" --snr 10 ${FULL:+--fid}            # figure 10b
gencomm bench report "$out"

for at in 10 5 0; do picture "figure9_${at}dB" --snr "$at"; done
picture figure11_fading --snr 10 --multipath --csi estimated
picture figure11_clipping --snr 10 --multipath --csi estimated --clip 0.8
picture figure11_no_prefix --snr 10 --multipath --csi estimated --cp 0
picture figure11_0dB --snr 0
