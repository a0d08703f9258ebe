"""Damaged and hostile files by the ten thousand: symbol files, presets and checkpoints, each read as the commands read it.

    python examples/measure/fuzz.py --cases 100000 --seed 0

Every case is a sound file with bytes changed, or with its structure changed: fields of the JSON, arrays, records of the zip,
opcodes of the pickle. It may be read, or refused by one of the project's own errors in one line. Anything else is a failure:
another exception, memory of 200 MB above the start, a file opened for writing outside the temporary folder, a program started.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

import gencomm_cli
from gencomm_cli import presets, symbols
from gencomm_cli.errors import GencommError
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.presets.build import build
from gencomm_cli.presets.write import Part, write_preset
from gencomm_cli.reception import channel_state
from gencomm_cli.released.checkpoint import read_checkpoint
from gencomm_cli.released.conversion import convert
from gencomm_cli.symbols.npz import from_bytes

MOST_MEMORY = 200 * 2**20
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, 0.5, "", "..", "/etc/passwd", "a" * 5000, "\x00", "inf", [], {},
    [[]] * 3, [1] * 1000, {"a": {}},
)  # fmt: skip
Files = dict[str, bytes]
"""The files of one case by their names; one alone, or a preset's."""


class Watch:
    """Notes what a reader must not do: an audit hook, which nothing can take off again, so that it is switched."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not arguments[0].startswith((self.folder, "/dev/null")):
                self.seen.append(f"writes {arguments[0]}")
        elif event in ("os.system", "subprocess.Popen", "socket.connect", "os.exec", "os.remove", "os.rename", "os.mkdir"):
            self.seen.append(event)


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Some bytes are others, are gone, come twice, or are followed by the start of the file."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(changed) or 1)
        how = rng.randrange(6)
        if how == 0:
            changed[place : place + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            changed[place : place + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80")
            )
        elif how == 2:
            del changed[place : place + rng.choice((1, 8, 64))]
        elif how == 3:
            changed[place:place] = changed[place : place + rng.choice((1, 8, 64))]
        elif how == 4:
            del changed[place:]
        else:
            changed += changed[:64]
    return bytes(changed)


def value_changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one value in it another, gone, twice, or under another name."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        found = dict(value)
        how = rng.randrange(8)
        if how == 0:
            del found[key]
        elif how == 1:
            found[rng.choice(("x", key + "x", ""))] = found.pop(key)
        else:
            found[key] = value_changed(value[key], rng)
        return found
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], value_changed(value[place], rng), *value[place + rng.randrange(2) :]]
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((-value, value + 1, value * 1000, value // 2, value * 10**9))
    return rng.choice(ODD)


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """JSON with its structure changed."""
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        value = value_changed(value, rng)
    return json.dumps(value).encode()


def zip_changed(data: bytes, rng: random.Random, inside: Callable[[str, bytes, random.Random], bytes]) -> bytes:
    """A zip file with one member changed by ``inside``, gone, twice, under another name, or compressed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place, how = rng.randrange(len(members)), rng.randrange(10)
    name, content = members[place]
    if how == 0:
        members.pop(place)
    elif how == 1:
        members.append((name, content))
    elif how == 2:
        members[place] = rng.choice(("x.npy", "../x", "/x", "meta.npy", "symbols.npy", f"{name}x")), content
    else:
        members[place] = name, inside(name, content, rng)
    buffer = io.BytesIO()
    warnings.filterwarnings("ignore", "Duplicate name")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if how == 3 else zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def member_changed(name: str, content: bytes, rng: random.Random) -> bytes:
    """One array of a symbol file: the header's JSON, numbers that are not finite, or bytes."""
    if name == "meta.npy" and rng.random() < 0.8:
        changed = json_changed(np.load(io.BytesIO(content)).tobytes(), rng)
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.frombuffer(changed, np.uint8), version=(1, 0))
        return buffer.getvalue()
    if rng.random() < 0.3 and len(content) > 140:
        odd = np.array([rng.choice((np.nan, np.inf, -np.inf, 1e38, 0))], np.float32).tobytes()
        return content[:128] + odd * ((len(content) - 128) // 4)
    return bytes_changed(content, rng)


OPCODES = [getattr(pickle, name) for name in pickle.__all__ if name.isupper() and isinstance(getattr(pickle, name), bytes)]
HOSTILE = (
    b"cos\nsystem\n(X\x04\x00\x00\x00truetR",
    b"c__builtin__\neval\n(X\x01\x00\x00\x001tR",
    b"h\x00h\x01\x86R",
    b"}q\x00h\x00h\x00s",
    b"(" * 50,
)


def record_changed(name: str, content: bytes, rng: random.Random) -> bytes:
    """One record of a checkpoint: opcodes or calls put into its pickle, numbers that are not finite, or bytes."""
    if name.endswith("data.pkl") and content:
        place = rng.randrange(2, len(content))
        return content[:place] + rng.choice((rng.choice(OPCODES) * rng.choice((1, 40)), rng.choice(HOSTILE))) + content[place:]
    return bytes_changed(content, rng)


def symbol_files() -> list[bytes]:
    """Files of both stages, over every kind of channel."""
    picture = np.add.outer(np.arange(24), np.arange(0, 96, 3))[..., None].repeat(3, 2).astype(np.uint8)
    found = []
    for method, cbr in (("textguided", 0.02), ("separate", 0.4), ("lrisc", 0.1)):
        given = {"prompt": "a red door"} if method == "textguided" else {}
        sent = gencomm_cli.load(method).encode(picture, cbr=cbr, snr=10, **given)
        found.append(symbols.to_bytes(sent))
        for fading, csi in (("awgn", "perfect"), ("rayleigh", "none"), ("block", "estimated"), ("multipath", "estimated")):
            found.append(symbols.to_bytes(gencomm_cli.transmit(sent, snr=10, fading=fading, csi=csi)))  # type: ignore[arg-type]
    return found


def tiny() -> dict[str, torch.Tensor]:
    """The names of a codec that `models import` knows, with hardly any numbers."""
    state = ConvolutionalJSCC(ConvolutionalJSCCConfig(2)).state_dict()
    return {name: tensor[:2, :2].clone() if tensor.dim() > 1 else tensor[:2].clone() for name, tensor in state.items()}


def checkpoints() -> list[bytes]:
    """One codec in both formats of torch and in safetensors, with what training programs put beside it."""
    found = []
    for value in (
        tiny(),
        {"state_dict": {f"net.{name}": tensor for name, tensor in tiny().items()}, "epoch": 3, "best": np.float64(1)},
    ):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
            found.append(buffer.getvalue())
    buffer = io.BytesIO()
    torch.save(ConvolutionalJSCC(ConvolutionalJSCCConfig(2)).state_dict(), buffer)  # which fits, if nothing is changed that counts
    return [*found, save(tiny()), buffer.getvalue()]


def preset(folder: Path) -> Files:
    """A preset of one small network."""
    with torch.no_grad():
        network = ConvolutionalJSCC(ConvolutionalJSCCConfig(2))
        parts = {"codec": Part("ConvolutionalJSCC", {"code_channels": 2, "padded": True}, network)}
        write_preset(folder, "jscc", parts, {"cbr": 0.02})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_symbols(path: Path) -> None:
    """As `inspect` and `decode` do."""
    file = from_bytes(path.read_bytes())
    if file.header.stage == "rx":
        channel_state(file)


def read_preset(folder: Path) -> None:
    """As every command does with ``--preset``, with the damaged weights' own hash."""
    found = presets.load_config(folder)
    for component in found.components.values():
        if component.pretrained is None:
            build(component, torch.device("cpu"))


def read_released(path: Path) -> None:
    """As `models import` does."""
    convert([read_checkpoint(path)], None, {})


def cases(folder: Path, rng: random.Random, sent: list[bytes]) -> Callable[[], tuple[str, Callable[[Path], None], Path]]:
    """Makes the next case: what kind, how it is read, and where it lies."""
    released, whole = checkpoints(), preset(folder / "sound")

    def next_case() -> tuple[str, Callable[[Path], None], Path]:
        kind, by_bytes = rng.choice(("symbols", "checkpoint") * 5 + ("preset",)), rng.random() < 0.4
        path = folder / "case"
        if kind == "symbols":
            data = rng.choice(sent)
            path.write_bytes(bytes_changed(data, rng) if by_bytes else zip_changed(data, rng, member_changed))
            return kind, read_symbols, path
        if kind == "checkpoint":
            data = rng.choice(released)
            structured = data.startswith(b"PK") and not by_bytes
            path.write_bytes(zip_changed(data, rng, record_changed) if structured else bytes_changed(data, rng))
            return kind, read_released, path
        place = folder / "preset"
        place.mkdir(exist_ok=True)
        for name, content in whole.items():
            (place / name).write_bytes(content)
        name = rng.choice(("config.json", "config.json", "config.json", "codec.safetensors"))
        change = json_changed if name == "config.json" and not by_bytes else bytes_changed
        (place / name).write_bytes(change(whole[name], rng))
        return kind, read_preset, place

    return next_case


def run(count: int, seed: int, watch: Watch, sent: list[bytes], most_failures: int = 20) -> tuple[Counter[str], list[str]]:
    """So many cases: how many of each kind were read or refused, and what failed.

    Args:
        sent: sound symbol files.
    """
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        next_case = cases(Path(name), random.Random(seed), sent)
        read_preset(Path(name) / "sound")  # imports what reading takes
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for number in range(count):
            kind, read, path = next_case()
            watch.folder = name
            try:
                read(path)
                outcome = "read"
            except GencommError as error:
                outcome = "refused"
                if "\n" in str(error):
                    failures.append(f"{number} {kind}: more than a line: {error!r}")
            except Exception as error:
                outcome = "failed"
                failures.append(f"{number} {kind}: {type(error).__name__}: {str(error)[:200]}")
            finally:
                watch.folder = None
            outcomes[f"{kind} {outcome}"] += 1
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - start
            if grown > MOST_MEMORY:
                failures.append(f"{number} {kind}: the peak of memory rose by {grown >> 20} MiB")
                start += grown
            failures += [f"{number} {kind}: {what}" for what in watch.seen]
            watch.seen.clear()
            if failures and os.environ.get("GENCOMM_FUZZ_KEEP") and failures[-1].startswith(f"{number} "):
                keep = Path(os.environ["GENCOMM_FUZZ_KEEP"], str(number))
                shutil.copytree(path, keep) if path.is_dir() else shutil.copy(path, keep)
            if len(failures) >= most_failures:
                break
        outcomes["MiB that the peak of memory rose by"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - start) >> 20
    return outcomes, failures


def main() -> int:
    """Runs, prints a line for each outcome and each failure, and fails if there are failures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    outcomes, failures = run(arguments.cases, arguments.seed, Watch(), symbol_files())
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:8} {outcome}")
    print(f"{time.perf_counter() - started:8.0f} seconds")
    for line in failures:
        print(line)
    print(f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
