"""Whole-process time and peak memory of the commands: ``python examples/timings.py IMAGE --method diffjscc``.

Each command runs several times as a process of its own on ``--cores`` cores; the table gives the median time, the range, and the
largest peak of resident memory (as the kernel counts it). The first run of each is a warm-up that fills the file cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import markdown

from gencomm_cli.methods import specs
from gencomm_cli.methods.options import options_of


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak MiB of one process that must succeed."""
    with (folder / "log").open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {(folder / 'log').read_text(errors='replace')}")
    return seconds, usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    sampling = [name for name, spec in specs().items() if "steps" in options_of(spec.receiver)]
    parser.add_argument("--method", choices=sampling, default="textguided")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument(
        "--prompt",
        default="a photograph of something that is worth looking at, in front of something green",
        help="sent with a method that reads one",
    )
    parser.add_argument("--cbr", help="the method's own if not given")
    parser.add_argument("--snr", default="10")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])

    image = str(arguments.image.resolve())
    program = [sys.executable, "-c", "from gencomm_cli.app import main; main()"]
    installed = Path(sys.executable).with_name("gencomm")
    if installed.exists():
        program = [str(installed)]
    what = ["--method", arguments.method, "--preset", arguments.preset, "--device", "cpu"]
    what += ["--prompt", arguments.prompt] * ("prompt" in options_of(specs()[arguments.method].transmitter))
    what += [] if arguments.cbr is None else ["--cbr", arguments.cbr]
    commands = {
        "--help": ["--help"],
        "encode": ["encode", image, "-o", "tx.npz", *what],
        "channel": ["channel", "tx.npz", "-o", "rx.npz", "--snr", arguments.snr],
        "decode": ["decode", "rx.npz", "-o", "rx.png", "--device", "cpu"],
        "decode --coarse": ["decode", "rx.npz", "-o", "rx.png", "--coarse", "--device", "cpu"],
        "roundtrip": ["roundtrip", image, "-o", "rx.png", "--snr", arguments.snr, *what],
    }
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name:
        for label, command in commands.items():
            folder = Path(name)
            run(program + command, folder)
            seconds, memory = zip(*(run(program + command, folder) for _ in range(arguments.runs)), strict=True)
            spread = f"{min(seconds):.2f}–{max(seconds):.2f}"
            rows.append([label, f"{statistics.median(seconds):.2f}", spread, f"{max(memory):.0f}"])
    what_of = f"{arguments.method}/{arguments.preset}, {arguments.image.name}"
    print(f"{what_of}, {arguments.cores} cores, {arguments.runs} runs each after one to warm up")
    print(markdown(["command", "median, s", "range, s", "peak memory, MiB"], rows))


if __name__ == "__main__":
    main()
