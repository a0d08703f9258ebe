"""The learned codec that papers call NTC or hyperprior (Ballé et al., arXiv:1802.01436), with CompressAI's weights.

They are the user's: ``GENCOMM_HYPERPRIOR`` names a folder with a checkpoint for each quality, in the order of their names
(bmshj2018-hyperprior-1-….pth.tar to -8-…). A picture is one byte, the quality, and the range coder's bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from gencomm_cli.errors import InputError
from gencomm_cli.methods.separate.containers import Container
from gencomm_cli.presets import combined_hash, file_hash

FOLDER = "GENCOMM_HYPERPRIOR"


@dataclass(frozen=True)
class Hyperprior:
    """The checkpoints of the folder, one a quality. The torch modules are imported when a picture comes."""

    container: Container
    max_side: int = 8192

    @property
    def files(self) -> list[Path]:
        """The checkpoints, worst first."""
        named = os.environ.get(FOLDER)
        return sorted(path for path in Path(named).iterdir() if path.is_file()) if named and Path(named).is_dir() else []

    @property
    def steps(self) -> int:
        return len(self.files)

    def version(self) -> str | None:
        return f"hyperprior {combined_hash([file_hash(path) for path in self.files])[:12]}" if self.files else None

    def encode(self, picture: Pillow.Image, step: int) -> bytes:
        from gencomm_cli.methods.separate.hyperprior_network import load

        return bytes([step]) + load(self.files[step]).compress(np.asarray(picture))

    def decode(self, data: bytes, width: int, height: int) -> Pillow.Image:
        from gencomm_cli.methods.separate.hyperprior_network import load

        if not data or data[0] >= self.steps:
            raise InputError(f"hyperprior: the picture is of a quality that {FOLDER} lacks; take the transmitter's checkpoints")
        return Pillow.fromarray(load(self.files[data[0]]).decompress(data[1:], width, height))
