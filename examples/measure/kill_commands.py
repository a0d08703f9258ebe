"""What commands leave behind that are killed at random moments: SIGKILL, SIGTERM, Ctrl-C and a lost terminal (SIGHUP), in turn.

usage: python examples/measure/kill_commands.py [--moments 50] [--seed 0] [--commands encode,decode,roundtrip,bench,train,import]

Each command runs on small inputs that are made here, in a process that is forked when everything is imported, so that the moments
fall into its work. What must hold after each:
  encode, decode, roundtrip   the target is what it would be without a signal, or what was there before
  import           the same; or, where a preset is replaced (--force), no preset is there after SIGKILL
  bench            no row that was there is lost, and every row's picture is whole; run to the end it has an undisturbed run's rows
  train            every file of weights opens, and no preset is there that does not verify; --resume goes on to the weights of an
                   undisturbed run
and no signal but SIGKILL leaves a temporary file.
Prints a line a command, and ends with status 1 where something does not hold. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

import gencomm_cli
from gencomm_cli import app, presets
from gencomm_cli.bench import store
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.outputs import TEMPORARY

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STAGE = {"schedule": {"steps": 12, "learning_rate": 1e-2, "warmup": 3, "ema": 0.5, "save_minutes": 0.002}, "batch": 2, "crop": 8}
RECIPE = {
    "name": "tiny",
    "settings": {"sampling": {"hifi": {"eta": 0.01, "likelihood": "norm"}}},
    "adjscc": {"class": "ADJSCC", "model": {"code_channels": 6, "width": 16, "rate_adaptive": True}, "recipe": STAGE},
    "swinjscc": {
        "class": "SwinJSCC", "model": {"dims": [8, 24], "depths": [1, 1], "heads": [1, 2], "window": 2, "trained_size": 16},
        "recipe": STAGE,
    },
    "prior": {
        "class": "ResidualPrior", "recipe": STAGE | {"perceptual": 0.0},
        "model": {"widths": [8, 8], "depths": [1, 1], "time_width": 8, "block": 8},
    },
}  # fmt: skip
COMMANDS = {
    "encode": ["encode", "photo.png", "-o"],
    "decode": ["decode", "rx.npz", "--steps", "2", "--reference", "photo.png", "-o"],
    "roundtrip": ["roundtrip", "photo.png", "--snr", "5", "--steps", "2", "-o"],
    "bench": [
        "bench", "photo.png", "--methods", "textguided:coarse,separate", "--snr", "-5:2:15",
        "--cbr", "0.03", "--metrics", "psnr,ssim", "--out",
    ],
    "train": ["train", "diffcom", "--data", "photographs", "--config", "recipe.json", "--resume", "--out"],
    "import": ["models", "import", "codec.pt", "--force", "-o"],
}  # fmt: skip
"""Each less its target."""


def prepare() -> None:
    """Makes the inputs in the current folder."""
    torch.set_num_threads(1)  # threads do not outlive a fork
    rng = np.random.default_rng(0)
    for name in ("photo.png", *(f"photographs/{index}.png" for index in range(6))):
        Path(name).parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
        coarse.resize((96, 64), Image.Resampling.BICUBIC).save(name)
    Path("recipe.json").write_text(json.dumps(RECIPE), "utf-8")
    torch.manual_seed(0)
    torch.save(ConvolutionalJSCC(ConvolutionalJSCCConfig(64)).state_dict(), "codec.pt")
    photo = gencomm_cli.load(device="cpu").encode(Image.open("photo.png"))
    gencomm_cli.transmit(photo, snr=10).save("rx.npz")


def start(arguments: Sequence[str]) -> int:
    """Forks a process that runs a command as from a shell, and returns its number."""
    if process := os.fork():
        return process
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    for each in SIGNALS[1:]:
        signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
    sys.argv = ["gencomm", *arguments]
    status = 70
    try:
        app.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)


def finish(arguments: Sequence[str]) -> float:
    """Runs a command to its end, and returns its seconds."""
    started = time.monotonic()
    _, status = os.waitpid(start(arguments), 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"{' '.join(arguments)}: status {status}; {said()}"
    return time.monotonic() - started


def said() -> str:
    """The end of what the commands printed."""
    return Path("log").read_text("utf-8")[-2000:]


def contents(path: Path) -> dict[str, bytes]:
    """The files at or below a path, but for unfinished ones."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {str(each.relative_to(path)): each.read_bytes() for each in files if not each.name.startswith(TEMPORARY)}


def rows(folder: Path) -> dict[str, store.Row]:
    """The rows of a bench, less what differs from run to run, once their pictures are seen to be whole."""
    found = store.read_rows(folder) if (folder / store.ROWS).exists() else []
    for row in filter(lambda row: row.output, found):
        Image.open(folder / row.output).load()
    return {row.cell.id: store.result(row) for row in found}


def weights(folder: Path) -> dict[str, bytes]:
    """The files of weights of a training, once they are seen to be whole, as are its presets."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt"):
            found[str(path.relative_to(folder))] = path.read_bytes()
    for path in folder.glob("models/*/*/config.json"):
        presets.verify(presets.load_config(path.parent))
    return found


def check(command: str, moments: int, rng: np.random.Generator) -> str:
    """Kills a command at random moments, and says in a line what came of it; an AssertionError says what does not hold."""
    goes_on, counted = command in ("bench", "train"), Counter[str]()
    out = Path({"encode": "out.npz", "decode": "out.png", "roundtrip": "out.png"}.get(command, "out"))
    look: Callable[[Path], Mapping[str, object]] = {"bench": rows, "train": weights}.get(command, contents)  # type: ignore[assignment]
    Path("undisturbed").mkdir()
    seconds = finish([*COMMANDS[command], f"undisturbed/{out}"])
    wanted, arguments = look("undisturbed" / out), [*COMMANDS[command], str(out)]
    if command == "import":
        shutil.copytree("undisturbed" / out, out)
    elif not goes_on:
        out.write_bytes(b"what was there")
    before = look(out)
    for moment in range(moments):
        number = SIGNALS[moment % len(SIGNALS)]
        process = start(arguments)
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, number)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert status in (0, -number, 128 + number), f"status {status} after signal {number}; {said()}"
        found = look(out)
        if command == "bench":
            assert before.items() <= found.items(), "a row is lost"
        elif command == "import":  # a folder without a config is no preset
            gone = number == signal.SIGKILL and "config.json" not in found
            assert found == wanted or gone, "a preset is there that is not the new one"
        elif command != "train":
            assert found in (wanted, before), f"{out} is neither what it was nor what it should be"
        unfinished = [*Path().rglob(f"{TEMPORARY}*")]
        assert not unfinished or number == signal.SIGKILL, f"{unfinished[0]} is left by signal {number}"
        for path in unfinished:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        counted["were over"] += status == 0
        counted["temporary files left by SIGKILL"] += len(unfinished)
        if goes_on:
            before = found
        if goes_on and status == 0:
            shutil.rmtree(out)
            before = {}
    finish(arguments)
    assert look(out) == wanted, "another result than without signals"
    return f"{command}: {moments} moments within {seconds:.1f} s, {', '.join(f'{count} {what}' for what, count in counted.items())}"


def main() -> int:
    """Runs the checks in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--commands", default=",".join(COMMANDS), metavar="LIST")
    given, failures = parser.parse_args(), 0
    for command in given.commands.split(","):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            prepare()
            try:
                print(check(command, given.moments, np.random.default_rng(given.seed)), flush=True)
            except AssertionError as error:
                failures += 1
                print(f"{command}: FAILED: {error}", flush=True)
            os.chdir("/")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
