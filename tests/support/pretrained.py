"""Full-size models in diffusers' layout, as stand-ins, and a user who has none of their presets yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.standins import stable_cascade, stable_diffusion, trained


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("weights")
    stable_diffusion(folder / "sd")
    stable_cascade(folder / "cascade")
    for method in ("textguided", "diffjscc"):
        trained(folder / method, method)
    return folder


@pytest.fixture
def weights(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil."""
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(whole, tmp_path / "weights"))


def quiet(line: str) -> None:
    """Swallows progress."""
