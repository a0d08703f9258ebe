"""Text to bits and back: the text model's integer frequencies through constriction's range coder.

constriction turns frequencies f into a cumulative distribution with 24 bits by ``floor(cumsum(f) * scale) + index``, one
IEEE 754 product an entry (``perfect=False``, always given because the default is another, slow rule). The frequencies are
integers below 2**53, so both ends compute the same numbers, and none is zero.

The coder ends in whole 32-bit words. Sent is the shortest string of bits that names a number in its final interval when
zeros follow; constriction's decoder reads zeros past the end of its input.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.text import text_model
from gencomm_cli.text.text_model import END, END_OF_BYTES, ESCAPE, Frequencies, TokenPredictor

MAX_BYTES = 4096  # of UTF-8

Bits = NDArray[np.uint8]


def normalise(text: str) -> str:
    """The text in Unicode's normal form C, as it is sent.

    Raises InputError for lone surrogates and for more than 4 KiB of UTF-8.
    """
    text = unicodedata.normalize("NFC", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InputError("prompt: it has a lone surrogate, and only text that UTF-8 can hold can be sent") from None
    if size > MAX_BYTES:
        raise InputError(f"prompt: it has {size} bytes of UTF-8, and at most {MAX_BYTES} can be sent")
    return text


def steps(text: str) -> list[tuple[int, Frequencies]]:
    """The symbols that stand for a text, each with its frequencies: tokens, and the bytes of what the vocabulary lacks."""
    model = text_model.load()
    predictor = TokenPredictor(model)
    coded: list[tuple[int, Frequencies]] = []
    unknown = ""

    def spell() -> None:
        coded.append((ESCAPE, predictor.frequencies))
        history = [END_OF_BYTES] * 4
        for byte in (*unknown.encode(), END_OF_BYTES):
            coded.append((byte, model.predict_byte(history)))
            history = [byte, *history[:3]]
        predictor.update(ESCAPE)

    for token in text_model.tokenize(text):
        if token not in model.index:
            unknown += token
            continue
        if unknown:
            spell()
            unknown = ""
        coded.append((model.index[token], predictor.frequencies))
        predictor.update(model.index[token])
    if unknown:
        spell()
    return [*coded, (END, predictor.frequencies)]


def encode(text: str) -> Bits:
    """The payload of a prompt: bits, uint8 [payload_bits]. Raises InputError as ``normalise`` does."""
    import constriction

    encoder = constriction.stream.queue.RangeEncoder()
    for symbol, frequencies in steps(normalise(text)):
        encoder.encode(symbol, categorical(frequencies))
    return seal(encoder)


def seal(encoder: Any) -> Bits:
    """The shortest string of bits, uint8 [n], that names what a ``RangeEncoder`` of constriction was given."""
    emitted, (low, width) = encoder.pos()
    size = 32 * (emitted + 2)  # the interval is [lower, lower + width) in units of 2**-size, width below 2**64
    words = encoder.get_compressed()
    sealed = int.from_bytes(words.astype(">u4").tobytes(), "big") << (size - 32 * len(words))  # some number in the interval
    lower = sealed - (sealed - low) % (1 << 64)
    free = next(s for s in range(size, -1, -1) if -(-lower >> s) << s < lower + width)
    length = size - free
    number = -(-lower >> free)
    return np.array([number >> i & 1 for i in range(length - 1, -1, -1)], np.uint8)


def decode(payload: Bits) -> str | None:
    """The text whose ``encode`` is ``payload`` (uint8 [payload_bits]); None if there is none, and never an exception."""
    model = text_model.load()
    decoder = unseal(payload)
    predictor = TokenPredictor(model)
    text = b""
    try:
        while len(text) <= MAX_BYTES + 1:  # one more for the space in front
            token = int(decoder.decode(categorical(predictor.frequencies)))
            if token == END:
                break
            if token == ESCAPE:
                history = [END_OF_BYTES] * 4
                while len(text) <= MAX_BYTES + 1:
                    byte = int(decoder.decode(categorical(model.predict_byte(history))))
                    if byte == END_OF_BYTES:
                        break
                    text += bytes([byte])
                    history = [byte, *history[:3]]
            else:
                text += model.vocabulary[token].encode()
            predictor.update(token)
        decoded = text.decode()[1:]
        return decoded if np.array_equal(encode(decoded), payload) else None
    except (AssertionError, UnicodeDecodeError, InputError):  # constriction asserts where the bits cannot come from an encoder
        return None


def unseal(payload: Bits) -> Any:
    """A ``RangeDecoder`` of constriction for what :func:`seal` gave, uint8 [n]; it reads zeros past the end."""
    import constriction

    packed = np.packbits(payload).tobytes()
    words = np.frombuffer(packed + bytes(-len(packed) % 4), ">u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)


def categorical(frequencies: Frequencies) -> Any:
    """constriction's model of positive integer frequencies below 2**53, the same on every machine."""
    import constriction

    return constriction.stream.model.Categorical(frequencies.astype(np.float64), perfect=False)
