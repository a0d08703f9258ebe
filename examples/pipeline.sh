#!/bin/sh
# Transmitter, air and receiver as three commands, and the same as one pipe.
#   examples/pipeline.sh [IMAGE] [FOLDER]      writes tx.npz, rx.npz, rx.png and piped.png into FOLDER
set -eu
here=$(dirname "$0")
image=${1:-$here/kodim23.png}
out=${2:-.}
mkdir -p "$out"

gencomm encode "$image" -o "$out/tx.npz" --cbr 0.0033
gencomm channel "$out/tx.npz" -o "$out/rx.npz" --snr 1 --rayleigh
gencomm decode "$out/rx.npz" -o "$out/rx.png" --steps 5

gencomm encode - --cbr 0.0033 <"$image" | gencomm channel - --snr 1 --rayleigh | gencomm decode - --steps 5 >"$out/piped.png"

cmp "$out/rx.png" "$out/piped.png" && echo "both ways give the same image: $out/rx.png"
