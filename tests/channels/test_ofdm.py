"""OFDM over multipath: against matrices written out, direct convolution, the authors' program, Sionna, and laws of its draws."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import circulant

from gencomm_cli.channels import ofdm
from gencomm_cli.channels.equalisers import zero_forcing
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.ofdm import OfdmConfig, through
from gencomm_cli.errors import InputError
from gencomm_cli.seeds import generator

Complex = NDArray[np.complexfloating[Any, Any]]
VECTORS = Path(__file__).parents[1] / "vectors" / "diffcom_ofdm_a.npz"


def draw(count: int, seed: int = 0) -> NDArray[np.complex64]:
    return draw_noise(count, generator(seed, "test"))


def dft(size: int) -> Complex:
    """The unitary DFT, entry by entry."""
    m = np.arange(size)
    matrix: Complex = np.exp(-2j * np.pi * np.outer(m, m) / size) / np.sqrt(size)
    return matrix


def laid_out(symbols: Complex, config: OfdmConfig) -> Complex:
    """The grid [S, M] of a burst, symbol by symbol."""
    grid = np.zeros(config.ofdm_symbols(symbols.size) * config.carriers, np.complex128)
    for symbol, place in zip(symbols, ofdm.places(symbols.size, config), strict=True):
        grid[place] = symbol
    return grid.reshape(-1, config.carriers)


@pytest.mark.parametrize(
    ("count", "config"),
    [
        (700, OfdmConfig()),
        (700, OfdmConfig(interleaver=False)),
        (1, OfdmConfig()),
        (16, OfdmConfig(carriers=16, cp=3, taps=4)),
        (100, OfdmConfig(carriers=12, cp=11, taps=12, decay=50.0)),
        (33, OfdmConfig(carriers=8, cp=0, taps=1)),
    ],
)
def test_with_a_prefix_every_ofdm_symbol_meets_a_circulant_matrix(count: int, config: OfdmConfig) -> None:
    symbols, cir = draw(count), ofdm.draw_taps(config, generator(1, "test"))
    received, _ = through(symbols, cir, config, 1)
    column = np.zeros(config.carriers, np.complex128)
    column[: config.taps] = cir
    fourier = dft(config.carriers)
    seen = fourier @ circulant(column) @ fourier.conj().T  # of carriers: diagonal, with H on it
    expected = (laid_out(symbols, config) @ seen.T).reshape(-1)[ofdm.places(count, config)]
    np.testing.assert_allclose(received, expected, atol=2e-6)
    gains = ofdm.response(cir, config)
    np.testing.assert_allclose(np.diag(gains), seen, atol=2e-6)
    np.testing.assert_allclose(received, gains[ofdm.places(count, config) % config.carriers] * symbols, atol=3e-6)


@pytest.mark.parametrize("cp", [0, 2])
def test_without_enough_prefix_ofdm_symbols_run_into_each_other_as_a_linear_convolution_does(cp: int) -> None:
    config = OfdmConfig(carriers=16, cp=cp, taps=6, pilots=2)
    symbols, cir = draw(60), ofdm.draw_taps(config, generator(1, "test"))
    grid = np.concatenate((ofdm.pilot_symbols(config).astype(np.complex128), laid_out(symbols, config)))
    time = grid @ dft(16).conj()  # the inverse of a symmetric unitary matrix
    air = np.concatenate([np.append(each[16 - cp :], each) for each in time])
    arrived = np.array([sum(cir[tap] * air[n - tap] for tap in range(6) if tap <= n) for n in range(air.size)])
    carriers = arrived.reshape(-1, 16 + cp)[:, cp:] @ dft(16)
    received, pilots = through(symbols, cir, config, 2)
    np.testing.assert_allclose(received, carriers[2:].reshape(-1)[ofdm.places(60, config)], atol=3e-6)
    np.testing.assert_allclose(pilots, carriers[:2], atol=3e-6)
    alone = ofdm.response(cir, config)[ofdm.places(60, config) % 16] * symbols
    assert np.max(np.abs(received - alone)) > 0.05


@pytest.mark.parametrize("config", [OfdmConfig(), OfdmConfig(carriers=64, cp=7), OfdmConfig(interleaver=False, pilots=3)])
def test_what_is_sent_comes_back_to_float_precision(config: OfdmConfig) -> None:
    symbols, cir = draw(2000), ofdm.draw_taps(config, generator(2, "test"))
    received, pilots = through(symbols, cir, config, config.pilots)
    assert received.dtype == np.complex64
    gains = ofdm.response(cir, config)
    weakest = np.abs(gains).min()
    back = zero_forcing(received, gains[ofdm.places(2000, config) % config.carriers])
    np.testing.assert_allclose(back, symbols, atol=2e-6 / weakest)
    np.testing.assert_allclose(zero_forcing(pilots, gains), ofdm.pilot_symbols(config), atol=2e-6 / weakest)


def test_the_ideal_channel_changes_nothing_and_keeps_power() -> None:
    config = OfdmConfig()
    symbols = draw(1024)
    received, _ = through(symbols, np.ones(1, np.complex64), config)
    np.testing.assert_allclose(received, symbols, atol=2e-6)
    signal = ofdm.transmitted(laid_out(symbols, config), OfdmConfig(cp=0))
    assert np.mean(np.abs(signal) ** 2) == pytest.approx(np.mean(np.abs(symbols) ** 2), rel=1e-6)


def test_white_noise_on_the_air_is_white_noise_of_the_same_power_on_the_carriers() -> None:
    config = OfdmConfig()
    carriers = ofdm.demodulate(draw(1000 * (256 + 10)), config)
    assert np.mean(np.abs(carriers) ** 2) == pytest.approx(1, rel=0.01)
    assert stats.kstest(carriers.real.reshape(-1)[::7] * np.sqrt(2), "norm").pvalue > 1e-3
    for other in (1, 17):
        assert abs(np.mean(carriers[:, :-other] * carriers[:, other:].conj())) < 5 / np.sqrt(carriers.size)


def test_symbols_fill_whole_places_each_and_pilots_are_unit_qpsk() -> None:
    for count in (1, 255, 256, 257, 5000):
        places = ofdm.places(count, OfdmConfig())
        assert np.unique(places).size == count
        assert places.max() < -(-count // 256) * 256
    assert np.abs(np.corrcoef(np.arange(5000), ofdm.places(5000, OfdmConfig()))[0, 1]) < 0.1
    np.testing.assert_array_equal(ofdm.places(300, OfdmConfig(interleaver=False)), np.arange(300))
    # Both ends must draw the same, on any machine and with any version of NumPy.
    np.testing.assert_array_equal(ofdm.places(5, OfdmConfig(carriers=8, cp=2)), [1, 4, 3, 0, 5])
    np.testing.assert_array_equal(np.angle(ofdm.qpsk(8)) % (2 * np.pi) // (np.pi / 2), [2, 0, 3, 0, 3, 0, 3, 0])
    pilots = ofdm.pilot_symbols(OfdmConfig(pilots=4))
    np.testing.assert_allclose(np.abs(pilots), 1, rtol=1e-6)
    np.testing.assert_array_equal(pilots[:1], ofdm.pilot_symbols(OfdmConfig()))
    assert abs(np.mean(pilots)) < 0.1


def test_the_power_delay_profile_is_exponential_and_taps_follow_it() -> None:
    config = OfdmConfig()
    profile = ofdm.delay_profile(config)
    assert profile.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(profile[1:] / profile[:-1], np.exp(-1 / 4))
    taps = np.array([ofdm.draw_taps(config, generator(seed, "image fading")) for seed in range(4000)])
    for tap, power in enumerate(profile):
        assert stats.kstest(np.abs(taps[:, tap]) ** 2, "expon", (0, power)).pvalue > 1e-4, tap
    assert np.mean(np.abs(ofdm.response(taps, config)) ** 2) == pytest.approx(1, rel=0.05)
    assert np.abs(np.corrcoef(np.abs(taps[:, 0]) ** 2, np.abs(taps[:, 1]) ** 2)[0, 1]) < 0.08


@pytest.mark.parametrize("ratio", [0.8, 1.0, 2.0])
def test_clipping_limits_amplitudes_keeps_phases_and_lowers_papr(ratio: float) -> None:
    signal = ofdm.transmitted(draw(20 * 256).reshape(20, 256), OfdmConfig())
    clipped = ofdm.clip(signal, ratio)
    limit = ratio * np.sqrt(np.mean(np.abs(signal) ** 2))
    assert np.abs(clipped).max() == pytest.approx(limit, rel=1e-5)
    np.testing.assert_allclose(np.angle(clipped * signal.conj()), 0, atol=1e-5)
    small = np.abs(signal) < limit
    np.testing.assert_array_equal(clipped[small], signal[small])
    before, after = float(ofdm.papr_db(signal)), float(ofdm.papr_db(clipped))
    assert before > 9  # 256 carriers make a Gaussian signal: its peaks among 5,320 samples are near ln(5320), 9.3 dB
    assert before == pytest.approx(10 * np.log10(np.max(np.abs(signal) ** 2) / np.mean(np.abs(signal) ** 2)), abs=1e-4)
    passed = 1 - np.exp(-(ratio**2))  # of a Gaussian signal's power
    assert after == pytest.approx(10 * np.log10(ratio**2 / passed), abs=0.15)
    with_clip, _ = through(draw(500), np.ones(1, np.complex64), OfdmConfig(clip=ratio))
    assert np.mean(np.abs(with_clip) ** 2) < np.mean(np.abs(draw(500)) ** 2)


@pytest.mark.parametrize(
    "config", [OfdmConfig(), OfdmConfig(cp=0), OfdmConfig(clip=0.8), OfdmConfig(clip=1.2, cp=3, pilots=2, interleaver=False)]
)
def test_torch_and_numpy_agree(config: OfdmConfig) -> None:
    symbols, cir = draw(700), ofdm.draw_taps(config, generator(1, "test"))
    ours = through(symbols, cir, config, config.pilots)
    theirs = through(torch.from_numpy(symbols), torch.from_numpy(cir), config, config.pilots)
    for one, other in zip(ours, theirs, strict=True):
        assert other.dtype == torch.complex64
        np.testing.assert_allclose(other.numpy(), one, atol=3e-6)
    # batches of symbols, and of impulse responses: unit taps give the matrix that the output is linear in
    batch = through(torch.from_numpy(np.stack((symbols, draw(700, 5)))), torch.from_numpy(cir), config, config.pilots)[0]
    np.testing.assert_allclose(batch[0].numpy(), ours[0], atol=3e-6)
    columns, _ = through(symbols, np.eye(config.taps, dtype=np.complex64), config, config.pilots)
    np.testing.assert_allclose(cir @ columns, ours[0], atol=3e-6)


@pytest.mark.parametrize("config", [OfdmConfig(8, 2, 1, 4), OfdmConfig(8, 0, 1, 4), OfdmConfig(8, 3, 1, 4, clip=1.0)])
def test_gradients_of_symbols_and_taps_are_those_of_finite_differences(config: OfdmConfig) -> None:
    def tensor(count: int, seed: int) -> torch.Tensor:
        return torch.from_numpy(draw(count, seed)).to(torch.complex128).requires_grad_()

    assert torch.autograd.gradcheck(lambda x, h: through(x, h, config, 1), (tensor(11, 0), tensor(4, 1)))


def test_gradients_stay_finite_where_nothing_is_sent() -> None:
    x = torch.zeros(20, dtype=torch.complex64, requires_grad=True)
    through(x, torch.ones(1, dtype=torch.complex64), OfdmConfig(8, 2, 0, clip=1.0, taps=1))[0].abs().square().sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(torch.view_as_real(x.grad)).all())


def test_extra_uses_are_pilots_prefixes_and_empty_carriers() -> None:
    extra = ofdm.extra_uses((649, 200, 0), OfdmConfig())
    assert (extra.pilots, extra.cp, extra.idle) == (256, 10 * (3 + 1 + 1), 3 * 256 - 649 + 56)
    assert ofdm.extra_uses((512,), OfdmConfig(cp=0, pilots=0)) == ofdm.ExtraUses()
    # all of them together are the samples on the air
    burst = ofdm.transmitted(np.zeros((4, 256), np.complex64), OfdmConfig())
    assert burst.size == 649 + sum(vars(ofdm.extra_uses((649,), OfdmConfig())).values())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"carriers": 1}, "carriers"), ({"carriers": 10**6}, "carriers"), ({"cp": -1}, "cp"), ({"cp": 257}, "OFDM symbol"),
        ({"taps": 0}, "taps"), ({"carriers": 4, "cp": 2}, "OFDM symbol"), ({"clip": 0.0}, "clip"), ({"clip": float("nan")}, "clip"),
        ({"decay": 0.0}, "decay"), ({"pilots": 65}, "pilots"),
    ],
)  # fmt: skip
def test_configurations_that_cannot_be_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        OfdmConfig(**changes)


def test_numpy_alone_is_enough() -> None:
    program = (
        "import sys, numpy as np\nfrom gencomm_cli.channels.ofdm import *\n"
        "through(np.ones(300, np.complex64), np.ones(3, np.complex64), OfdmConfig(clip=1.0), 1)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture(scope="module")
def vector() -> dict[str, NDArray[Any]]:
    """What DiffCom's program computes; its time signals have power 1/M, and are scaled here."""
    with np.load(VECTORS, allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize("case", [1, 3, 5, 7])
def test_the_authors_program_sends_and_receives_the_same(vector: dict[str, NDArray[Any]], case: int) -> None:
    data = {name.split(".")[1]: value for name, value in vector.items() if name.startswith(f"case{case}.")}
    config = OfdmConfig(64, int(data["prefix"]), clip=0.8 if data["clipped"] else None)
    grid = np.concatenate((vector["pilot"][None], vector["data"]))
    sent = ofdm.transmitted(grid, config)
    np.testing.assert_allclose(sent, 8 * data["tx_time"], atol=2e-6)
    unclipped = ofdm.transmitted(grid, OfdmConfig(64, int(data["prefix"])))
    np.testing.assert_allclose([ofdm.papr_db(unclipped), ofdm.papr_db(sent)], data["papr_db"], atol=1e-4)
    arrived = ofdm.convolve(sent, vector["taps"])
    # their noise: 10 dB below what arrives, counted in this very packet
    assert 64 * data["noise_pwr"] == pytest.approx(0.1 * np.mean(np.abs(arrived) ** 2), rel=1e-5)
    carriers = ofdm.demodulate(arrived + 8 * data["noise_time"], config)
    np.testing.assert_allclose(carriers[0], data["rx_pilot"], atol=1e-5)
    np.testing.assert_allclose(carriers[1:], data["rx_data"], atol=1e-5)
    np.testing.assert_allclose(ofdm.delay_profile(config), vector["profile"], rtol=1e-6)


@pytest.mark.parametrize("wrap", [2, 3])
def test_the_authors_operator_gives_the_same_measurement(vector: dict[str, NDArray[Any]], wrap: int) -> None:
    data = {name.split(".")[1]: value for name, value in vector.items() if name.startswith(f"wrap{wrap}.")}
    config = OfdmConfig(32, 12, clip=0.8 if wrap == 3 else None)
    reals = (data["s"][:, data["perm"]] / np.sqrt(data["avg_pwr"])).reshape(2, 2, 4, 32)
    bits = data["pilot_bits"] * 2.0 - 1
    pilot = np.broadcast_to((bits[:, 0] + 1j * bits[:, 1]).astype(np.complex64) / np.sqrt(2), (2, 1, 32))
    sent = ofdm.transmitted(np.concatenate((pilot, reals[:, 0] + 1j * reals[:, 1]), 1), config)
    power = ofdm.delay_profile(config)
    taps = np.sqrt(power / 2) * (data["tap_draw_re"] + 1j * data["tap_draw_im"])
    noise = np.sqrt(32 * data["noise_pwr"][:, None] / 2) * data["unit_noise"]
    received = ofdm.demodulate(ofdm.convolve(sent, taps.astype(np.complex64)) + noise, config)
    np.testing.assert_allclose(received[:, 1:], data["received"], atol=1e-5)
    # what the sampler compares that with: the same operator with the first L of the estimated taps, and no noise
    again = ofdm.demodulate(ofdm.convolve(sent, data["taps_est"][:, :8]), config)
    np.testing.assert_allclose(again[:, 1:], data["reencoded"], atol=1e-5)


@pytest.mark.parametrize("cp", [10, 4, 0])
def test_sionna_s_time_channel_gives_the_same(cp: int) -> None:
    pytest.importorskip("sionna", reason="the extra gencomm[sionna] is not installed")
    from sionna.phy.channel import ApplyTimeChannel  # type: ignore[import-untyped,import-not-found]
    from sionna.phy.ofdm import OFDMDemodulator, OFDMModulator  # type: ignore[import-untyped,import-not-found]

    config = OfdmConfig(carriers=64, cp=cp, pilots=2)
    symbols, cir = draw(300), ofdm.draw_taps(config, generator(3, "test"))
    grid = np.concatenate((ofdm.pilot_symbols(config), laid_out(symbols, config).astype(np.complex64)))
    shifted = torch.from_numpy(np.fft.fftshift(grid, axes=-1))[None, None, None]  # Sionna has its carrier 0 in the middle
    time = OFDMModulator(cp)(shifted)
    samples = time.shape[-1]
    h = torch.from_numpy(cir).expand(1, 1, 1, 1, 1, samples + config.taps - 1, config.taps)
    air = ApplyTimeChannel(samples, config.taps)(time, h)[..., :samples]
    carriers = np.fft.ifftshift(OFDMDemodulator(64, 0, cp)(air.contiguous())[0, 0, 0].numpy(), axes=-1)
    received, pilots = through(symbols, cir, config, 2)
    np.testing.assert_allclose(received, carriers[2:].reshape(-1)[ofdm.places(300, config)], atol=1e-5)
    np.testing.assert_allclose(pilots, carriers[:2], atol=1e-5)


def test_sionna_s_frequency_channel_gives_the_same() -> None:
    pytest.importorskip("sionna", reason="the extra gencomm[sionna] is not installed")
    from sionna.phy.channel import cir_to_ofdm_channel

    config = OfdmConfig()
    cir = ofdm.draw_taps(config, generator(3, "test"))
    paths = torch.from_numpy(cir).reshape(1, 1, 1, 1, 1, 8, 1)
    delays = torch.arange(8.0).reshape(1, 1, 1, 8)
    seen = cir_to_ofdm_channel(torch.arange(256) / 256, paths, delays).reshape(-1)
    np.testing.assert_allclose(ofdm.response(cir, config), seen.numpy(), atol=2e-5)


def test_gradients_pass_clipping_that_is_straight_through() -> None:
    """The same signal; the gradient is that of the channel without clipping."""
    torch.manual_seed(0)
    config = OfdmConfig(carriers=16, cp=4, taps=2, clip=0.8)
    cir, weights = torch.randn(2, dtype=torch.complex64), torch.randn(32, dtype=torch.complex64)

    def seen(config: OfdmConfig, straight_through: bool) -> tuple[torch.Tensor, torch.Tensor]:
        symbols = torch.exp(1j * torch.arange(32.0)).requires_grad_()
        received = through(symbols, cir, config, straight_through=straight_through)[0]  # type: ignore[type-var]
        (gradient,) = torch.autograd.grad((received * weights).real.sum(), symbols)
        return received.detach(), gradient

    clipped, through_clipping = seen(config, False)
    authors, straight = seen(config, True)
    plain, expected = seen(replace(config, clip=None), False)
    torch.testing.assert_close(authors, clipped)
    torch.testing.assert_close(straight, expected)
    assert not torch.allclose(authors, plain, atol=0.01)
    assert not torch.allclose(through_clipping, expected, atol=0.01)
