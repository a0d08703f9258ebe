"""Fetches the weights of LPIPS from their publishers, as tensors only, and keeps them as checked ``.npz``."""

from __future__ import annotations

import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from gencomm_cli.errors import InputError
from gencomm_cli.metrics import weights
from gencomm_cli.outputs import write_files

_TORCHVISION = "https://download.pytorch.org/models/"
_HEADS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"

SOURCES = {
    "alex": {"alex_features.npz": f"{_TORCHVISION}alexnet-owt-7be5be79.pth", "lin_v0.1_alex.npz": f"{_HEADS}alex.pth"},
    "squeeze": {
        "squeeze_features.npz": f"{_TORCHVISION}squeezenet1_1-b8a52dc0.pth",
        "lin_v0.1_squeeze.npz": f"{_HEADS}squeeze.pth",
    },
}
"""Publishers' addresses: backbones by torchvision (BSD-3-Clause), heads by the authors of LPIPS (BSD-2-Clause)."""


def fetch(backbone: str, folder: Path | None, say: Callable[[str], None], sources: Mapping[str, str] | None = None) -> list[Path]:
    """Downloads, converts, checks and stores both files of one backbone; returns their paths.

    Args:
        backbone: ``alex`` or ``squeeze``.
        folder: where to; by default the folder that ``GENCOMM_METRIC_WEIGHTS`` names, or ``~/.cache/gencomm/metrics``.
        sources: URL of each file, if not its publisher's.

    Raises:
        InputError: nothing could be fetched, or what came is not what was published.
    """
    named = folder or Path(os.environ.get(weights.ENVIRONMENT) or Path.home() / ".cache" / "gencomm" / "metrics")
    contents: dict[Path, bytes] = {}
    for name, url in (sources or SOURCES[backbone]).items():
        say(f"fetching {url}")
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                published = response.read()
        except (urllib.error.URLError, OSError) as error:
            raise InputError(f"{url}: cannot be fetched ({error}); name a folder that has it: --metric-weights") from None
        contents[named / name] = convert(name, published, weights.known_hashes()[name])
    named.mkdir(parents=True, exist_ok=True)
    write_files(contents)
    return list(contents)


def convert(name: str, published: bytes, expected: Mapping[str, str]) -> bytes:
    """A published state dict (``.pth``, loaded as tensors only) as the ``.npz`` called ``name``.

    Only the arrays in ``expected`` are kept, each checked against its SHA-256 there.

    Raises:
        InputError: an array is missing or is not the published one.
    """
    import torch

    try:
        state = torch.load(io.BytesIO(published), map_location="cpu", weights_only=True)
        arrays = {key: np.ascontiguousarray(state[key].numpy(), np.float32) for key in expected}
    except Exception as error:  # unpickling what is no state dict raises anything at all
        raise InputError(f"{name}: what was fetched is not the published state dict ({type(error).__name__}: {error})") from None
    for key, array in arrays.items():
        if weights.array_hash(array) != expected[key]:
            raise InputError(f"{name}: {key} is not the published array; nothing was kept")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
