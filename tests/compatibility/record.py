"""Records what the program did before its redesign: symbol files, pictures, flags, a bench folder. Run by hand, never by the tests.

Run at commit aa4210b, before the redesign, with torch 2.13.0 on a CPU and one thread:

  OMP_NUM_THREADS=1 PYTHONPATH=. python -m tests.compatibility.record symbols flags bench

What it wrote is what the tests of this folder hold today's program to. Do not run it again because a test fails: the program is to
read what it once wrote. There is one exception: a shipped preset that was trained further has other weights, and files that were
sent with the old ones are refused, as they must be. ``… record symbols NAME`` records those of PLAN anew whose names begin so, with
the same flags as before. (So were those of `textguided-` when `--cbr` became a bound: 0.0208 of this photograph is 191.7 symbols,
no longer 192; and those of `scsic-rate`, whose 0.0026 is 23.96 symbols with the gain, too few for two positions.)

GENCOMM_COMPATIBILITY=exact, on the machine that recorded, lets the tests pass for equal pixels only.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import lzma
import os
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.images import read_image

HERE = Path(__file__).parent
PHOTO = HERE / "photo.png"
"""A crop of examples/kodim23.png, scaled to 64x48."""
SYMBOLS, PRESETS, BENCH = HERE / "symbols.tar.xz", HERE / "presets", HERE / "bench"
EXPECTED, FLAGS, ROWS = HERE / "expected.json", HERE / "flags.json", BENCH / "rows.jsonl.xz"
GRID = 6
"""Blocks along each side of a fingerprint."""


@dataclass(frozen=True)
class Air:
    """Flags of ``channel``, and those of each ``decode`` of what it gives. ``name``: of the rx file, after the tx file's."""

    name: str
    flags: str
    decodes: tuple[str, ...]


@dataclass(frozen=True)
class Sent:
    """Flags of ``encode``; ``name`` is that of the tx file."""

    name: str
    flags: str
    airs: tuple[Air, ...]


PLAN = (
    Sent(
        "textguided",
        "--method textguided --snr 10 --fading rayleigh",
        (
            Air(
                "awgn",
                "--snr 10",
                (
                    "",
                    "--coarse",
                    "--steps 2 --spacing quadratic --guidance-scale 2 --seed 3",
                    "--preset nano --steps 1 --precision fp32",
                ),
            ),
            Air("rayleigh", "--snr 5 --rayleigh --seed 1", ("--steps 2 --start-step 300 --parameterization u",)),
        ),
    ),
    Sent(
        "textguided-prompt",
        "--cbr 0.0208 --prompt 'two parrots' --snr 15 --fading multipath --domain latent",
        (
            Air(
                "multipath",
                "--snr 15 --multipath --csi estimated --carriers 64 --clip 2 --rx-snr 12",
                ("--steps 2 --strict", "--coarse --estimator ls", "--steps 1 --no-prompt --samples 2 --estimator authors"),
            ),
        ),
    ),
    Sent(
        "textguided-builtin",
        "--captioner builtin --cbr 0.0208 --snr 15 --fading awgn --device cpu",
        (Air("clean", "--snr inf", ("--steps 1 --parameterization paper",)),),
    ),
    Sent(
        "diffjscc",
        "--method diffjscc --snr 10 --fading awgn",
        (
            Air(
                "awgn",
                "--snr 10 --awgn",
                (
                    "--steps 4",
                    "--coarse",
                    "--steps 2 --guidance-lambda 50 --guidance-form authors --no-colour-fix --condition spatial,csi",
                    "--steps 2 --captioner none --guidance-form paper --colour-fix",
                ),
            ),
        ),
    ),
    Sent(
        "diffjscc-gain",
        "--method diffjscc --cbr 1/96 --snr 5 --fading block --gain 0.6,-0.2",
        (
            Air("block", "--snr 5 --block-rayleigh", ("--steps 2 --condition none",)),
            Air("estimated", "--snr 5 --block-rayleigh --csi estimated", ("--steps 2 --samples 2", "--coarse --estimator ls")),
        ),
    ),
    Sent(
        "diffjscc-caption",
        "--method diffjscc --caption-from original --cbr 1/48 --snr 10",
        (Air("rayleigh", "--snr 12 --rayleigh", ("--steps 2",)),),
    ),
    Sent(
        "lrisc",
        "--method lrisc --snr 10 --fading awgn",
        (Air("awgn", "--snr 10", ("", "--coarse", "--steps 2 --seed 1")),),
    ),
    Sent(
        "lrisc-beta",
        "--method lrisc --beta 0.05 --snr 10 --fading block",
        (
            Air("block", "--snr 12 --block-rayleigh --csi estimated --seed 2", ("--steps 1",)),
            Air("lost", "--snr -12", ("--steps 1",)),
        ),
    ),
    Sent(
        "lrisc-uniform",
        "--method lrisc --allocation uniform --cbr 0.02",
        (Air("rayleigh", "--snr 10 --rayleigh", ("--steps 3 --samples 2",)),),
    ),
    Sent(
        "lrisc-nano-uniform",
        "--method lrisc --preset nano-uniform --snr 10",
        (Air("multipath", "--snr 10 --multipath --carriers 32 --taps 4 --decay 2 --cp 4 --no-interleaver", ("",)),),
    ),
    Sent(
        "diffcom",
        "--method diffcom --snr 10 --fading multipath",
        (
            Air(
                "multipath",
                "--snr 10 --multipath --carriers 64 --taps 3",
                (
                    "--steps 2",
                    "--coarse",
                    "--steps 2 --variant diffcom --likelihood norm --zeta 0.5",
                    "--steps 2 --gamma 0.2 --eta 0.3 --tau 10 --confirm pixels --likelihood squared",
                    "--steps 2 --variant hifi --start-step 100 --samples 2",
                ),
            ),
            Air(
                "blind",
                "--snr 10 --multipath --carriers 64 --taps 3 --csi none",
                (
                    "--steps 2 --zeta-h 0.2 --blind-form authors",
                    "--steps 2 --variant blind --blind-h lmmse --samples 2 --pick best",
                    "--steps 2 --variant hifi",
                ),
            ),
            Air(
                "estimated",
                "--snr 10 --multipath --carriers 64 --csi estimated --pilots 2 --clip 1.5 --seed 4",
                (
                    "--steps 1 --likelihood authors --estimator authors",
                    "--steps 1 --likelihood exact",
                    "--steps 1 --likelihood score --estimator ls",
                ),
            ),
        ),
    ),
    Sent(
        "diffcom-total",
        "--method diffcom --cbr-total 0.06 --fading multipath --carriers 64 --pilots 2 --cp 4",
        (Air("multipath", "--snr 10 --multipath --carriers 64 --pilots 2 --cp 4 --csi estimated", ("--steps 1",)),),
    ),
    Sent(
        "diffcom-swinjscc",
        "--method diffcom --codec swinjscc --snr 10 --fading awgn",
        (Air("awgn", "--snr 10", ("--steps 2", "--coarse")),),
    ),
    Sent(
        "diffcom-ntscc",
        "--method diffcom --preset nano-ntscc --cbr 1/24 --snr 20 --fading block",
        (Air("block", "--snr 10 --block-rayleigh --seed 3", ("--steps 2", "--coarse")),),
    ),
    Sent(
        "diffcom-ntscc-uniform",
        "--method diffcom --codec ntscc --allocation uniform --cbr 1/48",
        (Air("blind", "--snr 15 --block-rayleigh --csi none", ("--steps 2 --blind-h diffusion",)),),
    ),
    Sent(
        "scsic",
        "--method scsic --snr 10 --fading awgn",
        (
            Air("awgn", "--snr 10 --snr-type received", ("", "--coarse", "--steps 2 --guidance-scale 1.5")),
            Air("rayleigh", "--snr 15 --rayleigh --csi none", ("--steps 3 --seed 2",)),
        ),
    ),
    Sent(
        "scsic-rate",
        "--method scsic --cbr 0.0026",
        (Air("block", "--snr 10 --block-rayleigh --csi estimated", ("--steps 2 --samples 2",)),),
    ),
    Sent(
        "jscc",
        "--method jscc --preset {presets}/jscc/plain --snr 10",
        (
            Air("awgn", "--snr 10", ("--preset {presets}/jscc/plain",)),
            Air("multipath", "--snr 10 --multipath --carriers 64 --csi estimated", ("--preset {presets}/jscc/plain",)),
        ),
    ),
    Sent(
        "jscc-restored",
        "--method jscc --preset {presets}/jscc/restored --cbr 0.015",
        (Air("rayleigh", "--snr 8 --rayleigh", ("--preset {presets}/jscc/restored",)),),
    ),
    Sent(
        "separate-avif",
        "--method separate --cbr 0.04 --snr 10 --fading awgn",
        (Air("awgn", "--snr 10", ("",)), Air("lost", "--snr -5", ("",))),
    ),
    Sent(
        "separate-webp",
        "--method separate --cbr 0.05 --codec webp --snr 18 --fading awgn",
        (Air("received", "--snr 18 --snr-type received", ("",)),),
    ),
    Sent(
        "separate-jpeg2000",
        "--method separate --cbr 0.04 --codec jpeg2000 --modulation 16qam --code-rate 1/2 --fec ldpc",
        (Air("ebn0", "--snr 9 --snr-type ebn0", ("--strict",)),),
    ),
    Sent(
        "separate-hevc",
        "--method separate --cbr 0.05 --codec hevc --snr 15 --fading block",
        (Air("block", "--snr 20 --block-rayleigh --seed 2", ("",)),),
    ),
    Sent("separate-capacity", "--method separate --cbr 0.03 --capacity --snr 10", (Air("awgn", "--snr 10", ("",)),)),
)
"""Every method and every shipped preset, and two of ``jscc`` over shipped weights, as none of that method is shipped."""

SWEEP = (
    "bench run {bench}/photos --out out --methods textguided,textguided:coarse,separate,diffcom --snr 1,10 --cbr 1/48 --steps 1,2 "
    "--option eta=0.3 --prompts own --metrics psnr,ssim --save-images none"
)
"""The bench that was run; both photos are crops of examples/kodim05.png, scaled to 48x48."""


def words(flags: str) -> list[str]:
    """A line of flags as arguments, with this folder's places in it."""
    return [word.format(presets=PRESETS, bench=BENCH) for word in shlex.split(flags)]


def means(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean of each of 6x6 blocks of an image [H, W] or [H, W, C]: [6, 6, C]."""
    rows = np.array_split(np.atleast_3d(pixels).astype(np.float64), GRID)
    return np.stack([np.stack([block.mean((0, 1)) for block in np.array_split(row, GRID, axis=1)]) for row in rows])


def packed(values: NDArray[np.float64]) -> str:
    """Block means in tenths, as base64 of little-endian uint16."""
    return base64.b64encode(np.rint(10 * values).astype("<u2").tobytes()).decode()


def unpacked(text: str) -> NDArray[np.float64]:
    """Block means [6, 6, C]."""
    return np.frombuffer(base64.b64decode(text), "<u2").reshape(GRID, GRID, -1) / 10


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels with their shape."""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def outputs(printed: dict[str, Any]) -> list[NDArray[np.uint8]]:
    """The pictures that ``decode --json`` names."""
    return [read_image(Path(name)) for name in printed.get("outputs", [printed["output"]])]


def said(printed: dict[str, Any]) -> dict[str, Any]:
    """What ``decode --json`` says of text, side information and losses."""
    found = {name: printed[name] for name in ("prompt", "caption", "outage") if name in printed}
    return found | ({"side_ok": printed["side"]["ok"]} if "side" in printed else {})


def call(*arguments: str) -> dict[str, Any]:
    """Runs a command in this process and returns the JSON that it prints."""
    from gencomm_cli.app import run

    printed = io.BytesIO()
    with io.TextIOWrapper(printed) as stdout, contextlib.redirect_stdout(stdout):
        status = run([*arguments, "--json"])
        stdout.flush()
        text = printed.getvalue()
    if status:
        raise SystemExit(f"status {status}: {shlex.join(arguments)}")
    found: dict[str, Any] = json.loads(text)
    return found


def record_symbols(names: Sequence[str]) -> None:
    """Writes symbols.tar.xz and expected.json."""
    old = json.loads(EXPECTED.read_text()) if names else {"sent": {}, "received": {}, "decoded": []}
    chosen = [sent for sent in PLAN if not names or sent.name.startswith(tuple(names))]
    again = {f"{sent.name}.{air.name}" for sent in chosen for air in sent.airs}
    decoded = [entry for entry in old["decoded"] if entry["received"] not in again]
    with _emptied():
        if names:
            unpack(Path())
        for sent in chosen:
            tx = f"{sent.name}.tx.npz"
            call("encode", str(PHOTO), "-o", tx, *words(sent.flags))
            old["sent"][sent.name] = {"flags": sent.flags}
            for air in sent.airs:
                name = f"{sent.name}.{air.name}"
                call("channel", tx, "-o", f"{name}.rx.npz", *words(air.flags))
                old["received"][name] = {"sent": sent.name, "flags": air.flags}
                for flags in air.decodes:
                    printed = call("decode", f"{name}.rx.npz", "-o", "out.png", *words(flags))
                    pictures = [{"sha256": pixel_hash(each), "means": packed(means(each))} for each in outputs(printed)]
                    decoded.append({"received": name, "flags": flags, "said": said(printed), "pictures": pictures})
        _pack(sorted(Path().glob("*.npz")))
    _write(EXPECTED, {"commit": _commit(), "sent": old["sent"], "received": old["received"], "decoded": decoded})


def unpack(folder: Path) -> None:
    """Puts the symbol files into a folder: ``NAME.tx.npz`` and ``NAME.AIR.rx.npz`` of PLAN."""
    with tarfile.open(SYMBOLS) as archive:
        archive.extractall(folder, filter="data")


def _pack(files: Sequence[Path]) -> None:
    """One archive, as most of their bytes are headers that are alike."""
    with tarfile.open(SYMBOLS, "w:xz", preset=9) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size = file.stat().st_size
            with file.open("rb") as opened:
                archive.addfile(entry, opened)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of today's program by its path, groups too; "" is the program itself."""
    import typer

    from gencomm_cli.app import app

    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(f"{path} {name}".strip(), child)

    yield from walk("", typer.main.get_command(app))


def choices(parameter: Any) -> list[str]:
    """The only values that an option or argument takes; none where any is taken, or where a command checks them itself."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    return [str(value) for value in get_args(kind) or getattr(getattr(parameter, "type", None), "choices", ())]


def record_flags() -> None:
    """Writes flags.json. What is not there is none or false."""
    found: dict[str, Any] = {}
    for path, command in commands():
        found[path] = {"arguments": [], "options": []}
        for parameter in command.params:
            kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
            default = parameter.default if isinstance(parameter.default, bool | int | float | str) else None
            is_argument = parameter.param_type_name == "argument"
            entry = {
                **({"name": parameter.metavar} if is_argument else {"options": [*parameter.opts, *parameter.secondary_opts]}),
                "type": getattr(kind, "__name__", str(kind)), "choices": choices(parameter), "default": default,
                "required": parameter.required, "several": parameter.multiple or parameter.nargs != 1,
                "is_flag": getattr(parameter, "is_flag", False),
            }  # fmt: skip
            kept = {name: value for name, value in entry.items() if value not in (None, []) and value is not False}
            found[path]["arguments" if is_argument else "options"].append(kept)
    _write(FLAGS, found)


def record_bench() -> None:
    """Writes bench/rows.jsonl.xz."""
    with _emptied():
        call(*words(SWEEP))
        ROWS.write_bytes(lzma.compress(Path("out/rows.jsonl").read_bytes(), preset=9))


@contextlib.contextmanager
def _emptied() -> Iterator[None]:
    """An empty folder to work in."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()


def _write(path: Path, document: dict[str, Any]) -> None:
    """JSON with one line for each thing that may change, so that differences can be read."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(item)}" for name, item in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        elif isinstance(value, list):
            lines.append(f" {json.dumps(key)}: [\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Records compatibility data; see the docstring before you run it.")
    parser.add_argument("what", nargs="+", help="symbols, flags, bench; after symbols: beginnings of names of PLAN")
    asked = parser.parse_args().what
    if "symbols" in asked:
        record_symbols([name for name in asked if name not in ("symbols", "flags", "bench")])
    if "flags" in asked:
        record_flags()
    if "bench" in asked:
        record_bench()
