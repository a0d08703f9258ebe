"""Measured impulse responses from a file: an ``.npz`` without pickles, read with suspicion.

| array | type | meaning |
|---|---|---|
| `delays` | float32 or float64 [L] | of each tap, in s; what is before the first is taken off |
| `gains` | complex64 or complex128 [T, L] | of each tap, at times one interval apart; T = 1: a channel at rest |
| `interval` | float32 or float64 [1] | between two rows, in s |

``np.savez("measured.npz", delays=…, gains=…, interval=[…])`` writes one.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.path_model import LIGHT, PathModel
from gencomm_cli.channels.paths import Paths, draw_paths
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.textfiles import read_bytes

MAX_BYTES = 512 * 2**20
MAX_TAPS = 4096
_TYPES = {"delays": ("f4", "f8"), "gains": ("c8", "c16"), "interval": ("f4", "f8")}
_HEADERS: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Impulse responses of mean power 1, and the SHA-256 of the file that they are from."""

    paths: Paths
    sha256: str

    @property
    def doppler(self) -> float:
        """The Doppler shift in Hz that Jakes' spectrum of the same RMS Doppler spread ends at."""
        gains = self.paths.gains.astype(np.complex128)
        change = np.sum(np.abs(np.diff(gains)) ** 2) / max(1, gains.shape[1] - 1)
        # E|a(t + d) − a(t)|² = 2 − 2·J0(2πf_D·d) ≈ (2πf_D·d)² / 2
        return float(np.sqrt(2 * change)) / (2 * math.pi * self.paths.interval)

    def at_speed(self, model: PathModel) -> PathModel:
        """The model with the speed that the measured Doppler spread means, where it says none."""
        return model if model.speed is not None else replace(model, speed=3.6 * self.doppler * LIGHT / model.carrier_frequency)

    def excerpt(self, duration: float, rng: np.random.Generator) -> Paths:
        """As much as lasts for ``duration`` in s, from a place drawn at random.

        Raises:
            OptionError: the measurement is shorter.
        """
        step, rows = self.paths.interval, self.paths.gains.shape[1]
        if rows == 1:
            return self.paths
        needed = math.ceil(duration / step) + 1
        if needed > rows:
            raise OptionError(
                "cir",
                f"the measurement lasts {(rows - 1) * step:.4g} s and the transmission {duration:.4g} s; take more "
                "--subcarrier-spacing, or a longer measurement",
            )
        first = int(rng.integers(rows - needed + 1))
        return replace(self.paths, gains=self.paths.gains[:, first : first + needed])


def paths_of(model: PathModel, duration: float, rng: np.random.Generator, measured: Measured | None = None) -> Paths:
    """Paths of a model that last for ``duration`` in s, or an excerpt of the measurement that it names.

    Raises:
        InputError: as :func:`~gencomm_cli.channels.paths.draw_paths`, or the measurement is another.
    """
    if model.cir is None or measured is None or measured.sha256 != model.cir:
        return draw_paths(model, duration, rng)
    return measured.excerpt(duration, rng)


def read(path: Path) -> Measured:
    """Reads and checks a file.

    Raises:
        InputError: no such file, or it is not as the head of this module has it.
    """
    data = read_bytes(path, MAX_BYTES, "an .npz of impulse responses")
    try:
        return _measured(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise InputError(f"--cir: {path} is not an intact .npz ({str(error)[:100]}); np.savez writes one") from None
    except InputError as error:
        raise InputError(f"--cir: {path} {error}") from None


def _measured(data: bytes) -> Measured:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if sorted(entries) != sorted(f"{name}.npy" for name in _TYPES) or len(entries) != len(archive.infolist()):
            raise InputError(f"holds {', '.join(sorted(entries))[:80] or 'nothing'}; {', '.join(_TYPES)} were expected")
        if sum(entry.file_size for entry in entries.values()) > MAX_BYTES:
            raise InputError(f"claims more than {MAX_BYTES >> 20} MiB of arrays, the most that is read")
        for name, kinds in _TYPES.items():
            arrays[name] = _array(name, archive.read(f"{name}.npy"), kinds)
    delays, gains, interval = arrays["delays"], arrays["gains"], arrays["interval"].reshape(-1)
    if delays.ndim != 1 or not 1 <= delays.size <= MAX_TAPS or gains.ndim != 2 or gains.shape[1] != delays.size or not gains.size:
        shapes = f"{list(delays.shape)} and {list(gains.shape)}"
        raise InputError(f"has delays and gains of shapes {shapes}; [L] and [T, L] with L up to {MAX_TAPS} were expected")
    if interval.size != 1 or not 1e-12 <= interval[0] <= 1e3:
        raise InputError("has no interval between 1e-12 and 1e3 s; one number was expected")
    spread = delays - delays.min()
    if not spread.max() <= 1:  # NaN and infinity fail too
        raise InputError("has delays that are not finite or more than 1 s apart")
    power = np.sum(np.abs(gains) ** 2) / len(gains)
    if not 1e-30 <= power <= 1e30:
        raise InputError("has gains that are not finite, all zero or without measure; their mean power is made 1")
    unit = np.ascontiguousarray((gains / np.sqrt(power)).T, np.complex64)
    return Measured(Paths(spread, unit, float(interval[0])), hashlib.sha256(data).hexdigest())


def _array(name: str, content: bytes, kinds: tuple[str, ...]) -> NDArray[Any]:
    """One ``.npy`` member, whose header is checked against its size before an array is made of it."""
    opened = io.BytesIO(content)
    version = np.lib.format.read_magic(opened)
    if version not in _HEADERS:
        raise InputError(f"holds {name} in version {version[0]} of the .npy format; 1 was expected")
    shape, fortran, dtype = _HEADERS[version](opened)
    if dtype.str[1:] not in kinds:
        raise InputError(f"holds {name} as {dtype}; {' or '.join(np.dtype(kind).name for kind in kinds)} was expected")
    if math.prod(shape) * dtype.itemsize != len(content) - opened.tell() or len(shape) > 2:
        raise InputError(f"holds {name} of shape {list(shape)[:4]}, and other bytes than that takes")
    array = np.frombuffer(content, dtype, offset=opened.tell()).reshape(shape, order="F" if fortran else "C")
    return array.astype(np.complex128 if dtype.kind == "c" else np.float64)
