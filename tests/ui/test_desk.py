"""What the window computes: the same as `gencomm roundtrip`, no more often than needed, and not on when it is no longer wanted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.errors import InputError
from gencomm_cli.pipeline import Codec, channel_record, load
from gencomm_cli.ui.desk import Desk, Link, Source, Superseded, examples, models
from gencomm_cli.ui.drawing import constellation, figures
from tests.support.commands import Result, failed, picture

MODEL = "textguided/nano"


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk("cpu")


@pytest.fixture
def source(photo: Path) -> Source:
    return Source(str(photo), 512, MODEL, 0.02)


@pytest.mark.parametrize("link", [Link(3, "block", seed=2, steps=2), Link(3, "rayleigh", known=False, steps=2)])
def test_a_send_is_a_roundtrip(desk: Desk, source: Source, link: Link) -> None:
    """Coarse first, then refined as well; the transmitter knows the channel or not."""
    coarse, last = desk.send(source, link)
    trip = load("textguided", device="cpu").roundtrip(
        picture(), channel_record(link.fading, 3, "esn0", "perfect"), cbr=0.02, tx_snr="channel" if link.known else "unknown",
        seed=link.seed, steps=2,
    )  # fmt: skip
    np.testing.assert_array_equal(last.refined, trip.reception.image)
    np.testing.assert_array_equal(coarse.coarse, trip.reception.coarse)
    np.testing.assert_array_equal(last.received.symbols, trip.received.symbols)
    assert (coarse.refined, coarse.refined_metrics, coarse.last, last.last) == (None, None, False, True)
    assert last.refined_metrics is not None
    assert 5 < (last.refined_metrics["psnr"] or 0) < 60


def test_the_picture_is_encoded_again_only_where_what_is_sent_changes(
    desk: Desk, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, encode = [0], Codec.encode

    def counted(*given: Any, **named: Any) -> Any:
        count[0] += 1
        return encode(*given, **named)

    monkeypatch.setattr(Codec, "encode", counted)
    ends = [next(desk.send(source, Link(snr, known=False))).coarse for snr in (20, -5)]
    assert count == [1]
    assert (ends[0] != ends[1]).any()
    for snr in (20, -5):
        next(desk.send(source, Link(snr)))
    assert count == [3]


def test_the_slider_where_it_stands_at_first_is_the_method_s_own_rate(desk: Desk, tmp_path: Path) -> None:
    """It shows three digits, and SC-SIC's own 0.00146484 counts no gain: as a bound it would leave a smaller embedding."""
    Image.fromarray(picture(256, 256)).save(tmp_path / "square.png")
    sent, said = desk._encode(Source(str(tmp_path / "square.png"), 512, "scsic/nano", 0.00146), None)
    assert (sent.symbols.size, said) == (8 * 6 * 6, ())


def test_a_send_ends_when_the_window_wants_another(desk: Desk, source: Source) -> None:
    first, other = desk.send(source, Link(5), "a"), desk.send(source, Link(5), "b")
    next(first)
    next(other)
    next(desk.send(source, Link(6), "a"))
    with pytest.raises(Superseded):
        next(first)
    assert next(other).last  # another window's
    steps: list[int] = []

    def leave(done: int, total: int, note: str = "", /) -> None:
        steps.append(done)
        desk.forget("a")

    with pytest.raises(Superseded):
        list(desk.send(source, Link(5, steps=5), "a", leave))
    assert len(steps) == 1


def test_a_method_without_a_sampler_is_done_at_once_and_the_figures_say_what_was_sent(desk: Desk, photo: Path) -> None:
    able = desk.abilities("separate/classical")
    assert (able.samples, able.prompt) == (False, False)
    (view,) = desk.send(Source(str(photo), 48, "separate/classical", 0.05), Link(10))
    assert view.original.shape == (32, 48, 3)  # scaled down
    text = figures(view)
    assert f"<th>image</th><td>{view.sent.symbols.size}</td>" in text
    assert "refined" not in text
    assert "prompt" not in text
    assert constellation(view.sent, view.received).count("h0") == 2 * view.sent.symbols.size


def test_figures_show_no_markup_of_a_prompt(desk: Desk, source: Source) -> None:
    assert desk.abilities(MODEL).prompt
    view = next(desk.send(Source(source.picture, 512, MODEL, 0.02, "<script>alert(1)</script>"), Link(20)))
    assert "prompt received: &lt;script&gt;" in figures(view)


def test_pictures_are_read_as_encode_reads_them(desk: Desk, tmp_path: Path) -> None:
    Image.new("1", (2**14, 2**13 + 1)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match="2\\^27 pixels"):
        next(desk.send(Source(str(tmp_path / "large.png"), 512, MODEL, 0.02), Link(5)))


def test_what_there_is_to_choose_from() -> None:
    assert models()[0] == MODEL
    assert {"separate/classical", "lrisc/nano"} <= {*models()}
    assert len(examples()) == 3


def test_without_gradio_one_line_says_what_to_install(here: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    failed(here("ui"), 2, "Gradio", "pip install 'gencomm[ui]'")


def test_a_port_that_is_taken_is_named(here: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'gencomm[ui]'")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        failed(here("ui", "--no-browser", "--port", taken.getsockname()[1]), 2, "--port", "in use", "name another")
    assert [*tmp_path.iterdir()] == []
