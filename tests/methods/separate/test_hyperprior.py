"""The learned codec with CompressAI's weights: the same numbers as CompressAI's own program, and bits that are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gencomm_cli import symbols
from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.methods.separate import codecs
from gencomm_cli.methods.separate.hyperprior import FOLDER
from gencomm_cli.methods.separate.hyperprior_network import MULTIPLE, ScaleHyperprior, Tables
from gencomm_cli.networks.tensors import to_tensor
from gencomm_cli.text.range_coder import seal, unseal
from tests.support.commands import Result, failed

Gencomm = Callable[..., Result]
VECTOR = Path(__file__).parents[2] / "vectors" / "compressai_hyperprior_a.npz"
"""Of CompressAI 1.2.8, ``ScaleHyperprior(6, 8)`` with random weights: what its compress and decompress make of an image, and how
many bytes its strings have."""


@pytest.fixture(scope="module")
def theirs() -> Mapping[str, np.ndarray]:
    return dict(np.load(VECTOR))


@pytest.fixture(scope="module")
def state(theirs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name.removeprefix("state."): torch.from_numpy(array) for name, array in theirs.items() if name.startswith("state.")}


@pytest.fixture(scope="module")
def folder(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two qualities: the worse sends a latent of a third of the size."""
    made = tmp_path_factory.mktemp("compressai")
    torch.save(state, made / "bmshj2018-hyperprior-2-x.pth.tar")
    torch.save(state | {"g_a.6.weight": state["g_a.6.weight"] / 3}, made / "bmshj2018-hyperprior-1-x.pth.tar")
    return made


@pytest.fixture(scope="module")
def network(folder: Path) -> ScaleHyperprior:
    return ScaleHyperprior(folder / "bmshj2018-hyperprior-2-x.pth.tar")


def test_the_numbers_are_those_of_compressai(network: ScaleHyperprior, theirs: Mapping[str, np.ndarray]) -> None:
    image = theirs["image"]
    y = network.g_a(to_tensor(image, MULTIPLE, torch.device("cpu")))
    z = network.h_a(y.abs()) - network.medians[:, None, None]
    np.testing.assert_array_equal(y.round().numpy(), theirs["y"])
    np.testing.assert_array_equal(z.round().numpy(), theirs["z"])
    np.testing.assert_array_equal(network._rows(z.round() + network.medians[:, None, None]), theirs["rows"])
    payload = network.compress(image)
    shown = network.decompress(payload, 128, 64)
    assert np.abs(shown.astype(int) - theirs["x_hat"]).max() <= 1
    assert len(payload) <= theirs["bytes"].sum()  # theirs are two strings, each with a coder's end


def test_what_is_decoded_is_what_arrived(network: ScaleHyperprior, theirs: Mapping[str, np.ndarray]) -> None:
    payload = network.compress(theirs["image"])
    damaged = bytes([payload[0] ^ 64]) + payload[1:]
    try:
        assert not np.array_equal(network.decompress(damaged, 128, 64), network.decompress(payload, 128, 64))
    except AssertionError as error:
        assert "Tried to decode" in str(error)  # noqa: PT017


def test_values_outside_their_tables_are_sent_too(state: dict[str, Tensor]) -> None:
    import constriction

    tables = Tables(state, "gaussian_conditional", VECTOR)
    rows = np.array([0, 0, 3, 3, 63, 0])
    values = np.array([0, 500, -700, 1, 12, -1])
    assert not all(
        0 <= value - tables.offsets[row] < len(tables.frequencies[row]) - 1 for value, row in zip(values, rows, strict=True)
    )
    encoder = constriction.stream.queue.RangeEncoder()
    tables.encode(encoder, values, rows)
    np.testing.assert_array_equal(tables.decode(unseal(seal(encoder)), rows), values)


def test_the_codec_of_separate(
    here: Gencomm, folder: Path, monkeypatch: pytest.MonkeyPatch, theirs: Mapping[str, np.ndarray]
) -> None:
    Image.fromarray(theirs["image"]).save("photo.png")
    send = ["photo.png", "--method", "separate", "--codec", "hyperprior", "--snr", 10]
    failed(here("encode", *send), 2, "--codec", "hyperprior is not installed", FOLDER)
    monkeypatch.setenv(FOLDER, str(folder))
    codec = codecs.find("hyperprior")
    worse, better = (len(codec.encode(Image.open("photo.png"), step)) for step in (0, 1))
    assert worse < better
    coded = codecs.fit(codec, theirs["image"], 10_000)
    assert coded.payload[0] == 1  # the better one
    done = here("encode", *send, "--cbr", 0.5)
    assert done.returncode == 0, done.stderr
    header = symbols.read(Path("photo.tx.npz")).header
    assert header.classical is not None
    assert header.classical.payload_bytes == len(coded.payload)
    assert here("channel", "photo.tx.npz", "--snr", 10).returncode == 0
    assert here("decode", "photo.rx.npz").returncode == 0
    np.testing.assert_array_equal(read_image(Path("photo.rx.png")), coded.shown)
    (other := Path("other")).mkdir()
    (other / "1.pth").symlink_to(folder / "bmshj2018-hyperprior-1-x.pth.tar")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv(FOLDER, str(other))
        failed(here("decode", "photo.rx.npz"), 2, "a quality that", FOLDER)
    assert here("channel", "photo.tx.npz", "--snr", -10).returncode == 0
    assert here("decode", "photo.rx.npz", "-o", "lost.png").returncode == 0
    assert (read_image(Path("lost.png")) == 128).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"g_a.0.weight": None}, "lacks g_a.0.weight"),
        ({"h_s.4.weight": torch.zeros(1)}, "is no scale hyperprior"),
        ({"gaussian_conditional._cdf_length": torch.zeros(0)}, "has no tables; call its update"),
        ({"entropy_bottleneck._quantized_cdf": torch.zeros(6, 24)}, "do not rise"),
    ],
)
def test_other_checkpoints_are_refused(change: dict[str, Any], words: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({name: tensor for name, tensor in (state | change).items() if tensor is not None}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=words):
        ScaleHyperprior(tmp_path / "x.pth")
