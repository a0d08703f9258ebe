"""Fetches the weights of the metrics from their publishers, as tensors only, and keeps them as checked ``.npz``."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gencomm_cli.errors import InputError, one_line
from gencomm_cli.metrics import weights
from gencomm_cli.outputs import check_folder, write_files


@dataclass(frozen=True)
class Source:
    """Where a file comes from: a state dict (``.pth``, ``.pt``) or an ``.npz``.

    Attributes:
        sha256: of the published file; needed where ``hashes.json`` does not list its arrays. (torchvision's and torch-fidelity's
            file names carry its first eight digits.)
    """

    url: str
    sha256: str = ""


_TORCHVISION = "https://download.pytorch.org/models/"
_GITHUB = "https://raw.githubusercontent.com/"
_HEADS = f"{_GITHUB}richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
_VGG = Source(f"{_TORCHVISION}vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0")

SOURCES = {
    "lpips-alex": {
        "alex_features.npz": Source(f"{_TORCHVISION}alexnet-owt-7be5be79.pth"),
        "lin_v0.1_alex.npz": Source(f"{_HEADS}alex.pth"),
    },
    "lpips-squeeze": {
        "squeeze_features.npz": Source(f"{_TORCHVISION}squeezenet1_1-b8a52dc0.pth"),
        "lin_v0.1_squeeze.npz": Source(f"{_HEADS}squeeze.pth"),
    },
    "lpips-vgg": {"vgg_features.npz": _VGG, "lin_v0.1_vgg.npz": Source(f"{_HEADS}vgg.pth")},
    "dists": {
        "vgg_features.npz": _VGG,
        "dists.npz": Source(f"{_GITHUB}dingkeyan93/DISTS/master/DISTS_pytorch/weights.pt"),
    },
    "inception": {
        "inception.npz": Source(
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        )
    },
    "niqe": {"niqe.npz": Source(f"{_GITHUB}XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz")},
}
"""Publishers' files, by what `gencomm models get` calls them and the name they are kept under.

Backbones by torchvision (BSD-3-Clause), heads by the authors of LPIPS (BSD-2-Clause), DISTS by its authors (MIT), Inception as
torch-fidelity converted it from TensorFlow's (Apache-2.0), NIQE's parameters as BasicSR (Apache-2.0) keeps its authors'.
"""

_CLASSIFIERS = ("classifier.", "fc.")


def fetch(name: str, folder: Path | None, say: Callable[[str], None], sources: Mapping[str, Source] | None = None) -> list[Path]:
    """Downloads, converts, checks and stores the files of one metric; returns their paths. What is there and intact stays.

    Args:
        name: a key of :data:`SOURCES`.
        folder: where to; by default the folder that ``GENCOMM_METRIC_WEIGHTS`` names, or ``~/.cache/gencomm/metrics``.
        sources: where each file comes from, if not from its publisher.

    Raises:
        InputError: nothing could be fetched, or what came is not what was published.
    """
    named = folder or Path(os.environ.get(weights.ENVIRONMENT) or Path(os.path.expanduser("~")) / ".cache" / "gencomm" / "metrics")
    found = sources or SOURCES[name]
    check_folder(named)
    contents: dict[Path, bytes] = {}
    for file, source in found.items():
        path = named / file
        if path.exists():
            with contextlib.suppress(InputError):
                weights.load_arrays(path)
                say(f"{path} is here already")
                continue
        say(f"fetching {source.url}")
        try:
            with urllib.request.urlopen(source.url, timeout=60) as response:
                published = response.read()
        except (urllib.error.URLError, OSError) as error:
            raise InputError(f"{source.url}: cannot be fetched ({error}); name a folder that has it: --metric-weights") from None
        if source.sha256 and hashlib.sha256(published).hexdigest() != source.sha256:
            raise InputError(f"{source.url}: what came does not have the published SHA-256 {source.sha256}; nothing was kept")
        expected = weights.known_hashes().get(file)
        if expected is None and not source.sha256:
            raise InputError(f"{source.url}: no hash is known of it, so it cannot be checked; nothing was kept")
        contents[path], hashes = convert(file, published, expected)
        if expected is None:
            contents[weights.record(path)] = json.dumps(hashes, indent=1).encode()
    named.mkdir(parents=True, exist_ok=True)
    write_files(contents)
    return [named / file for file in found]


def convert(name: str, published: bytes, expected: Mapping[str, str] | None) -> tuple[bytes, dict[str, str]]:
    """A published state dict, loaded as tensors only, or ``.npz``, loaded without pickles, as the ``.npz`` called ``name``.

    Only the arrays in ``expected`` are kept, each checked against its SHA-256 there. Without ``expected``, ``published`` was
    checked as a whole, and all floating-point arrays but the classifier's are kept.

    Returns:
        The ``.npz``, and the SHA-256 of each array in it.

    Raises:
        InputError: an array is missing or is not the published one.
    """
    try:
        state = _arrays(published)
        if expected is None:
            kept = [key for key, array in state.items() if array.dtype.kind == "f" and not key.startswith(_CLASSIFIERS)]
        else:
            kept = list(expected)
        arrays = {key: np.ascontiguousarray(state[key]) for key in kept}
    except Exception as error:  # unpickling what is no state dict raises anything at all
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"{name}: what was fetched is not the published state dict ({reason})") from None
    hashes = {key: weights.array_hash(array) for key, array in arrays.items()}
    for key in kept:
        if expected is not None and hashes[key] != expected[key]:
            raise InputError(f"{name}: {key} is not the published array; nothing was kept")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue(), hashes


def _arrays(published: bytes) -> dict[str, np.ndarray]:
    """By name, from an ``.npz`` or a state dict; both may be zip archives."""
    import torch

    buffer = io.BytesIO(published)
    if zipfile.is_zipfile(buffer) and all(name.endswith(".npy") for name in zipfile.ZipFile(buffer).namelist()):
        with np.load(buffer, allow_pickle=False) as archive:
            return dict(archive)
    state = torch.load(io.BytesIO(published), map_location="cpu", weights_only=True)
    return {key: value.detach().numpy() for key, value in state.items()}
