"""Published weights are loaded as tensors only, converted, and checked array by array."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from gencomm_cli.commands.models import MetricName
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
    converted, kept = fetch.convert("some.npz", saved(state_dict()), hashes())
    assert kept == hashes()
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
    (tmp_path / "alex.pth").write_bytes(saved(state_dict() | {"features.0.bias": torch.zeros(4)}))
    said: list[str] = []
    for url in ((tmp_path / "alex.pth").as_uri(), (tmp_path / "gone.pth").as_uri()):
        with pytest.raises(InputError) as caught:
            fetch.fetch("lpips-alex", tmp_path / "weights", said.append, {"alex_features.npz": fetch.Source(url)})
        assert "\n" not in str(caught.value)
        assert said[-1] == f"fetching {url}"
    assert not (tmp_path / "weights").exists()


def test_every_publisher_s_file_has_known_hashes() -> None:
    """Of its arrays, or of the whole file: then those of the arrays are recorded when it is fetched."""
    files = {name: source for sources in fetch.SOURCES.values() for name, source in sources.items()}
    assert set(weights.known_hashes()) <= set(files)
    for name, source in files.items():
        digits = re.search(r"-([0-9a-f]{8})\.pth$", source.url)
        if name not in weights.known_hashes():
            assert digits is not None
            assert re.fullmatch(f"{digits[1]}[0-9a-f]{{56}}", source.sha256)


def test_the_command_line_offers_what_can_be_fetched() -> None:
    assert set(get_args(MetricName)) == set(fetch.SOURCES)


def source(path: Path) -> fetch.Source:
    return fetch.Source(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_file_known_as_a_whole_is_recorded_array_by_array(tmp_path: Path) -> None:
    """Integers and the classifier are left out; what was recorded is what loading checks; a second fetch fetches nothing."""
    state = state_dict() | {"fc.bias": torch.randn(3), "features.1.num_batches_tracked": torch.tensor(7)}
    (tmp_path / "published.pth").write_bytes(saved(state))
    there = {"some.npz": source(tmp_path / "published.pth")}
    said: list[str] = []
    assert fetch.fetch("inception", tmp_path / "weights", said.append, there) == [tmp_path / "weights" / "some.npz"]
    found = weights.load_arrays(tmp_path / "weights" / "some.npz")
    assert set(found) == set(hashes())
    np.testing.assert_array_equal(found["features.0.bias"], state["features.0.bias"])
    assert json.loads((tmp_path / "weights" / "some.json").read_text()) == hashes()
    (tmp_path / "published.pth").unlink()
    fetch.fetch("inception", tmp_path / "weights", said.append, there)
    assert said[-1].endswith("is here already")
    (tmp_path / "weights" / "some.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch.fetch("inception", tmp_path / "weights", said.append, there)


def test_a_whole_file_with_another_hash_or_none_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = tmp_path / "published.pth"
    published.write_bytes(saved(state_dict()))
    right = source(published)
    published.write_bytes(published.read_bytes() + b"more")
    monkeypatch.setattr(fetch, "convert", lambda *_: pytest.fail("read before it was checked"))
    for wrong, message in ((right, "does not have the published SHA-256"), (fetch.Source(right.url), "no hash is known")):
        with pytest.raises(InputError, match=message):
            fetch.fetch("inception", tmp_path / "weights", lambda _: None, {"some.npz": wrong})
    assert not (tmp_path / "weights").exists()


def test_an_npz_is_read_without_pickles() -> None:
    arrays = {"mu": np.arange(4.0), "cov": np.eye(4), "window": np.ones(3)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    expected = {name: weights.array_hash(arrays[name]) for name in ("mu", "cov")}
    converted, _ = fetch.convert("some.npz", buffer.getvalue(), expected)
    with np.load(io.BytesIO(converted), allow_pickle=False) as archive:
        assert set(archive) == {"mu", "cov"}
        assert archive["mu"].dtype == np.float64
        np.testing.assert_array_equal(archive["mu"], arrays["mu"])
    pickled = io.BytesIO()
    np.savez(pickled, mu=np.array([{}], dtype=object), cov=np.eye(4))
    with pytest.raises(InputError, match="not the published state dict"):
        fetch.convert("some.npz", pickled.getvalue(), expected)
