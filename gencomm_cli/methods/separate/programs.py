"""Codecs that are programs on the PATH: BPG (bpgenc, bpgdec) and VVC's test model VTM (EncoderApp, DecoderApp).

Their qualities are quantisation parameters. VTM gets 8 bit 4:4:4 YCbCr (BT.601, full range, as in JPEG) and takes
minutes a picture.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image as Pillow

from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods.separate.containers import Container

VTM_CONFIG = "GENCOMM_VTM_CONFIG"


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["nothing"]
        raise InputError(
            f"{Path(command[0]).name}: failed with status {done.returncode} and said {said[-1][:100]!r}; is it intact?"
        )


def shown(source: Path | BinaryIO, format: str, width: int, height: int) -> Pillow.Image:
    """The RGB picture in a file. Raises whatever Pillow does, and ValueError where the size is another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's about many pixels: the header's own limit holds
        with Pillow.open(source, formats=[format]) as opened:
            check_size(opened.size, width, height)
            return opened.convert("RGB")


def check_size(size: tuple[int, int], width: int, height: int) -> None:
    """Raises ValueError where a picture's size is not what was sent."""
    if size != (width, height):
        raise ValueError(f"the picture is {size[0]}x{size[1]}, and {width}x{height} was sent")


def _version(program: str, pattern: str) -> str:
    """What a program says of its version when it is called for help."""
    done = subprocess.run([program, "--help"], capture_output=True, check=False)
    found = re.search(pattern, (done.stdout + done.stderr).decode(errors="replace"))
    return found[1] if found else "of unknown version"


@dataclass(frozen=True)
class Bpg:
    """Fabrice Bellard's BPG, with bpgenc's settings."""

    container: Container
    steps: int = 52
    max_side: int = 65535

    def version(self) -> str | None:
        encoder = shutil.which("bpgenc")
        return f"BPG {_version(encoder, r'version ([0-9.]+)')}" if encoder and shutil.which("bpgdec") else None

    def encode(self, picture: Pillow.Image, step: int) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.png"), Path(folder, "out.bpg")
            picture.save(source)
            _run("bpgenc", "-q", str(self.steps - 1 - step), "-o", target, source)
            return target.read_bytes()

    def decode(self, data: bytes, width: int, height: int) -> Pillow.Image:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.bpg"), Path(folder, "out.png")
            source.write_bytes(data)
            _run("bpgdec", "-o", target, source)
            return shown(target, "PNG", width, height)


@dataclass(frozen=True)
class Vtm:
    """The reference software of H.266/VVC, all intra."""

    container: Container
    steps: int = 64
    max_side: int = 16384

    @staticmethod
    def _program(name: str) -> str | None:
        return shutil.which(name) or shutil.which(f"{name}Static")

    def version(self) -> str | None:
        encoder = self._program("EncoderApp")
        return f"VTM {_version(encoder, r'Version (?:VTM-)?([0-9.]+)')}" if encoder and self._program("DecoderApp") else None

    def _config(self, encoder: str) -> Path:
        """``encoder_intra_vtm.cfg``: where the environment says, or where VTM's sources have it."""
        named = os.environ.get(VTM_CONFIG)
        path = Path(named) if named else Path(encoder).resolve().parent.parent / "cfg" / "encoder_intra_vtm.cfg"
        if not path.is_file():
            raise OptionError("codec", f"vtm needs {path}, which is not there; set {VTM_CONFIG} to VTM's encoder_intra_vtm.cfg")
        return path

    def encode(self, picture: Pillow.Image, step: int) -> bytes:
        encoder = self._program("EncoderApp") or "EncoderApp"
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.yuv"), Path(folder, "out.vvc")
            source.write_bytes(np.asarray(picture.convert("YCbCr")).transpose(2, 0, 1).tobytes())
            _run(
                encoder, "-c", self._config(encoder), "-i", source, "-b", target, "-o", os.devnull, "-wdt", str(picture.width),
                "-hgt", str(picture.height), "-q", str(self.steps - 1 - step), "-f", "1", "-fr", "1", "--InputBitDepth=8",
                "--InputChromaFormat=444", "--ConformanceWindowMode=1", "--TemporalSubsampleRatio=1",
            )  # fmt: skip
            return target.read_bytes()

    def decode(self, data: bytes, width: int, height: int) -> Pillow.Image:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.vvc"), Path(folder, "out.yuv")
            source.write_bytes(data)
            _run(self._program("DecoderApp") or "DecoderApp", "-b", source, "-o", target, "-d", "8")
            if target.stat().st_size != 3 * width * height:
                raise ValueError("the picture has another size")
            planes = np.frombuffer(target.read_bytes(), np.uint8).reshape(3, height, width)
            return Pillow.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)), "YCbCr").convert("RGB")
