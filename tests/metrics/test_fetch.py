"""Published weights are loaded as tensors only, converted, and checked array by array."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli.errors import InputError
from gencomm_cli.metrics import fetch, weights


def saved(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def state_dict() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"features.0.weight": torch.randn(4, 3, 2, 2), "features.0.bias": torch.randn(4), "classifier.weight": torch.randn(9, 9)}


def hashes() -> dict[str, str]:
    return {name: weights.array_hash(value.numpy()) for name, value in state_dict().items() if name.startswith("features")}


def test_the_arrays_that_are_needed_are_kept() -> None:
    converted = fetch.convert("some.npz", saved(state_dict()), hashes())
    with np.load(io.BytesIO(converted), allow_pickle=False) as archive:
        assert set(archive) == {"features.0.weight", "features.0.bias"}
        np.testing.assert_array_equal(archive["features.0.weight"], state_dict()["features.0.weight"])


def test_changed_missing_and_broken_weights_are_refused() -> None:
    changed = state_dict()
    changed["features.0.bias"][2] += 1e-6
    with pytest.raises(InputError, match=r"features\.0\.bias is not the published array"):
        fetch.convert("some.npz", saved(changed), hashes())
    missing = {name: value for name, value in state_dict().items() if name != "features.0.bias"}
    for data in (saved(missing), saved([1, 2]), b"<html>not found</html>", saved(state_dict())[:200]):
        with pytest.raises(InputError, match="not the published state dict"):
            fetch.convert("some.npz", data, hashes())


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    with pytest.raises(InputError):
        fetch.convert("some.npz", saved({"features.0.weight": Evil()}), hashes())
    assert not (tmp_path / "pwned").exists()


def test_nothing_is_kept_of_a_fetch_that_fails(tmp_path: Path) -> None:
    (tmp_path / "alex.pth").write_bytes(saved(state_dict()))
    said: list[str] = []
    for url in ((tmp_path / "alex.pth").as_uri(), (tmp_path / "gone.pth").as_uri()):
        with pytest.raises(InputError) as caught:
            fetch.fetch("alex", tmp_path / "weights", said.append, {"alex_features.npz": url})
        assert "\n" not in str(caught.value)
        assert said[-1] == f"fetching {url}"
    assert not (tmp_path / "weights").exists()


def test_every_publisher_s_file_has_known_hashes() -> None:
    assert {name for files in fetch.SOURCES.values() for name in files} == set(weights.known_hashes())
