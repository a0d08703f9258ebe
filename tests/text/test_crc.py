import numpy as np

from gencomm_cli.text import crc


def test_known_vector() -> None:
    """CRC-24/LTE-A of "123456789" in the catalogue of parametrised CRC algorithms."""
    bits = np.unpackbits(np.frombuffer(b"123456789", np.uint8))
    assert np.packbits(crc.checksum(bits)).tobytes().hex() == "cde703"


def test_message_with_its_checksum_leaves_zero_and_every_burst_shows() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, 200).astype(np.uint8)
    word = np.concatenate((bits, crc.checksum(bits)))
    assert not crc.checksum(word).any()
    for start in range(len(word) - crc.BITS):
        burst = word.copy()
        burst[start : start + crc.BITS] ^= np.append(1, rng.integers(0, 2, crc.BITS - 1)).astype(np.uint8)
        assert crc.checksum(burst).any()


def test_what_both_ends_know_is_covered_too() -> None:
    payload = np.random.default_rng(1).integers(0, 2, 77).astype(np.uint8)
    message = crc.protect(payload, b"avif 77")
    assert message.size == 77 + crc.BITS
    assert np.array_equal(crc.verified(message, b"avif 77"), payload)  # type: ignore[arg-type]
    assert crc.verified(message, b"webp 77") is None
    assert crc.verified(message, b"") is None
    message[3] ^= 1
    assert crc.verified(message, b"avif 77") is None
