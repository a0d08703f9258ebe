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
