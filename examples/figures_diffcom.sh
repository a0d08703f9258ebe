#!/bin/sh
# DiffCom (arXiv:2406.07390), figure 10: HiFi-DiffCom against the coarse image of its own codec, over multipath with CSI estimated from
# pilots, at CBR 1/48: (a) quality against SNR, (b) against the clip ratio of the OFDM signal at 10 dB (infinite: no clipping).
#   examples/figures_diffcom.sh [OUT]                       one photograph, some minutes: OUT/report.html
#   FULL=1 examples/figures_diffcom.sh OUT KODAK            Kodak, each image sent three times, with FID: many hours without a GPU
# Images are cropped to their central 256x256.
# METHODS=diffcom@nano-swinjscc,diffcom@nano-swinjscc:coarse has another codec; nano-ntscc likewise.
set -eu
here=$(dirname "$0")
out=${1:-figures_diffcom}
methods=${METHODS:-diffcom,diffcom:coarse}
sweep() { gencomm bench run "$@" --out "$out" --methods "$methods" --cbr 1/48 --csi estimated --prepare crop:256; }

if [ -n "${FULL:-}" ]; then
    set -- "$2" --repeats 3
    snr=0,2.5,5,7.5,10,12.5,15 clips="2 1.6 1.4 1.2 1 0.8"
else
    set -- "$here/kodim05.png"
    snr=0,10 clips="1.2 0.8"
fi
channels=multipath
for clip in $clips; do channels=$channels,multipath:clip=$clip; done
sweep "$@" --channels multipath --snr "$snr"                            # figure 10a
sweep "$@" --channels "$channels" --snr 10 ${FULL:+--fid}               # figure 10b
gencomm bench report "$out"
