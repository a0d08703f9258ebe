#!/bin/sh
# Quality against SNR, as a CSV on standard output.
#   examples/sweep.sh [IMAGE] [PROMPT] >sweep.csv
# LPIPS columns stay empty without metric weights: see `gencomm models get lpips-alex`.
set -eu
here=$(dirname "$0")
image=${1:-$here/kodim23.png}
prompt=${2:-}
picture=$(mktemp -d)
trap 'rm -rf "$picture"' EXIT

echo "channel,snr_db,cbr_total,coarse_psnr,psnr,ssim,gmsd,lpips_alex,lpips_squeeze"
for channel in awgn rayleigh; do
    for snr in -5 0 5 10 15 20; do
        gencomm roundtrip "$image" -o "$picture/rx.png" --snr "$snr" "--$channel" --prompt "$prompt" --json |
            python3 -c '
import json, sys
result = json.load(sys.stdin)
metrics = result["metrics"]
row = [*sys.argv[1:], result["cbr"]["total"], result["coarse_metrics"]["psnr"]]
row += [metrics[name] for name in ("psnr", "ssim", "gmsd", "lpips_alex", "lpips_squeeze")]
print(*("" if value is None else value for value in row), sep=",")
' "$channel" "$snr"
    done
done
