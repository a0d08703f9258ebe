import unicodedata

import numpy as np
import pytest

from gencomm_cli.errors import InputError
from gencomm_cli.text import range_coder

CAPTIONS = [
    "A brown dog runs through the tall grass next to a white fence.",
    "a red barn reflected in a pond, green trees and tall grass, cloudy evening sky",
    "Two men in hard hats are standing on a scaffold in front of a brick building.",
    "a close-up of a red painted wooden door with a white porcelain knob and iron bolt",
    "A group of people sit around a table with laptops, drinking coffee.",
]


def random_text(rng: np.random.Generator) -> str:
    """All planes, with many from the first ones, and some caption words between."""
    limit = int(rng.choice([0x80, 0x300, 0x10000, 0x110000]))
    points = rng.integers(0, limit, int(rng.integers(0, 30)))
    pieces = [chr(p) for p in points if not 0xD800 <= p < 0xE000]
    if rng.random() < 0.3:
        pieces += rng.choice([" dog", " a", " the", ".", "  ", "\n"], 4).tolist()
    return "".join(rng.permutation(pieces).tolist()) if pieces else ""


def test_random_unicode_round_trips() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1500):
        text = random_text(rng)
        assert range_coder.decode(range_coder.encode(text)) == unicodedata.normalize("NFC", text)


HARD = ["", " ", "\n", "\0", "<begin>", "<end>", "\u0301", "e\u0301", "\U0010ffff", "a" * 4096, "\U0001f600" * 1024, "a dog " * 682]


@pytest.mark.parametrize("text", HARD)
def test_hard_cases_round_trip(text: str) -> None:
    assert range_coder.decode(range_coder.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["\ud800", "a" * 4097, "\U0001f600" * 1025])
def test_what_cannot_be_sent_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^prompt: "):
        range_coder.encode(text)


def entropy_bits(text: str) -> float:
    """Ideal code length of a text in normal form C under the model, in bits."""
    return float(sum(np.log2(f.sum() / max(int(f[symbol]), 1)) for symbol, f in range_coder.steps(range_coder.normalise(text))))


def test_length_is_the_entropy() -> None:
    """Less than 2 bits and 1 % above the ideal length; below it by no more than the zeros that end a payload can save."""
    rng = np.random.default_rng(1)
    texts = [*CAPTIONS, *(random_text(rng) for _ in range(200))]
    excess = [len(range_coder.encode(t)) - 1.01 * entropy_bits(t) for t in texts]
    assert max(excess) < 2
    assert np.mean([len(range_coder.encode(t)) - entropy_bits(t) for t in CAPTIONS]) > -2


def test_last_bit_is_needed() -> None:
    for text in CAPTIONS:
        payload = range_coder.encode(text)
        assert range_coder.decode(payload[:-1]) != text
        assert range_coder.decode(np.append(payload, np.uint8(0))) is None  # one text, one payload


def test_noise_never_raises() -> None:
    rng = np.random.default_rng(2)
    for _ in range(500):
        payload = rng.integers(0, 2, int(rng.integers(0, 300))).astype(np.uint8)
        text = range_coder.decode(payload)
        assert text is None or np.array_equal(range_coder.encode(text), payload)


def test_captions_are_short() -> None:
    bits = sum(len(range_coder.encode(t)) for t in CAPTIONS)
    assert bits / sum(map(len, CAPTIONS)) < 1.5


def test_bitstream_is_pinned() -> None:
    """These bits belong to text model ``gencomm-text-1``. Where they change, so must the version."""
    caption = "a tropical island with palm trees across a calm grey sea under big white clouds"
    assert _hex(caption) == "112:e307ac5e3d551b1f6555e297261b"
    assert _hex("Zürich 日本 \U0001f600 42") == "217:0048d9bfd04c77acd1118b57b44cf47c9bbeea86d05da68f98abc880"


def _hex(text: str) -> str:
    payload = range_coder.encode(text)
    return f"{len(payload)}:{np.packbits(payload).tobytes().hex()}"
