"""Finds, checks and loads the weights of the metrics that need a network."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gencomm_cli.errors import InputError

ENVIRONMENT = "GENCOMM_METRIC_WEIGHTS"


def folder(given: Path | None = None) -> Path | None:
    """The folder with metric weights: the one given, or the one that ``GENCOMM_METRIC_WEIGHTS`` names, or none."""
    named = given or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is None:
        default = Path.home() / ".cache" / "gencomm" / "metrics"
        return default if default.is_dir() else None
    if not named.is_dir():
        raise InputError(f"{named}: no such folder; {ENVIRONMENT} or --metric-weights names a folder of .npz weights")
    return named


@cache
def known_hashes() -> dict[str, dict[str, str]]:
    """SHA-256 of each array (its little-endian float32 bytes) by file, as shipped in ``hashes.json``."""
    found: dict[str, dict[str, str]] = json.loads(files(__package__).joinpath("hashes.json").read_text())
    return found


def array_hash(array: np.ndarray) -> str:
    """SHA-256 of the array's values as little-endian float32, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of one ``.npz`` of metric weights, each checked against its known hash.

    Raises:
        InputError: the file is missing or an array is not the published one.
    """
    expected = known_hashes()[path.name]
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in expected}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path}: not readable as metric weights ({error}); `gencomm models get` fetches them") from None
    for name, array in arrays.items():
        if array_hash(array) != expected[name]:
            raise InputError(f"{path}: array {name} is not the published one; fetch the file again with `gencomm models get`")
    return arrays


def load_lpips(backbone: str, where: Path):  # type: ignore[no-untyped-def]
    """An :class:`~gencomm_cli.metrics.lpips.LPIPS` with the published weights from folder ``where``, frozen."""
    import torch

    from gencomm_cli.metrics.lpips import LPIPS

    if backbone not in ("alex", "squeeze"):
        raise ValueError(f"no LPIPS backbone {backbone!r}")
    model = LPIPS(backbone)  # type: ignore[arg-type]
    features = load_arrays(where / f"{backbone}_features.npz")
    heads = load_arrays(where / f"lin_v0.1_{backbone}.npz")
    state = {name: torch.from_numpy(array) for name, array in features.items()}
    state |= {f"heads.{name.split('.')[0][3:]}": torch.from_numpy(array) for name, array in heads.items()}
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)
