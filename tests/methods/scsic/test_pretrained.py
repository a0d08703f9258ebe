"""A preset of scsic over a stand-in for Stable Cascade."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Result, failed


def test_a_preset_over_stable_cascade_sends_pictures(here: Callable[..., Result], photo: Path, weights: Path) -> None:
    made = here("models", "add", "scsic", "--name", "cascade", "--cascade", weights / "cascade")
    assert made.returncode == 0, made.stderr.decode()
    trip = here("roundtrip", "photo.png", "--method", "scsic", "--preset", "cascade", "--snr", 10, "--steps", 2, "--json")
    assert trip.returncode == 0, trip.stderr.decode()
    assert json.loads(trip.stdout)["metrics"]["psnr"] > 0
    failed(here("models", "add", "scsic", "--name", "cascade", "--cascade", weights / "cascade"), 2, "--name cascade", "already")
    failed(
        here("models", "add", "scsic", "--name", "lite", "--cascade", weights / "cascade", "--stage-b", "decoder_lite"), 2,
        "lacks decoder_lite/config.json",
    )  # fmt: skip
    (weights / "cascade" / "effnet_encoder.safetensors").unlink()
    failed(here("models", "add", "scsic", "--name", "other", "--cascade", weights / "cascade"), 2, "--encoder FILE")
