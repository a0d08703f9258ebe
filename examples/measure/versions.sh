#!/usr/bin/env bash
# One round trip of each method with the lowest versions that pyproject.toml declares, or with the newest (needs uv).
#   bash examples/measure/versions.sh lowest-direct python3.11
#   bash examples/measure/versions.sh highest python3.13
set -euo pipefail
resolution=$1 interpreter=$2
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv -q -p "$interpreter" "$work/venv"
python=$work/venv/bin/python
uv pip install -q -p "$python" numpy setuptools wheel # pyldpc's source package takes them and does not say so
uv pip install -q -p "$python" --upgrade --resolution "$resolution" -r pyproject.toml --extra heif
uv pip install -q -p "$python" --no-deps -e .
"$python" --version
uv pip list -q -p "$python" | grep -E '^(constriction|diffusers|filelock|huggingface|numpy|pillow|pyldpc|pyyaml|rich|safetensors|torch|transformers|typer) '
cd "$work"
"$python" - <<'END'
import numpy as np
from PIL import Image
y, x = np.mgrid[:48, :64]
Image.fromarray(np.stack([4 * x, 5 * y, 2 * (x + y)], 2).astype(np.uint8)).save("photo.png")
END
trip() { # METHOD FLAGS...
    "$python" -m gencomm_cli roundtrip photo.png --snr 10 -o "$1.png" --method "$@" >"$1.txt" 2>&1 || { echo "$1: fails"; cat "$1.txt"; exit 1; }
    echo "$1: done"
}
trip textguided --prompt "a red door"
trip diffjscc --steps 2
trip lrisc --cbr 0.02
trip diffcom --steps 2 --cbr 1/24
trip scsic
trip separate --cbr 0.2
echo "all methods of $resolution on $interpreter"
