"""Paths: the tables and their statistics, Sionna's, and impulse responses from files, sound or not."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import j0

from gencomm_cli.channels import measured
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.paths import TABLES, Paths, draw_paths, over_paths
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.seeds import generator
from tests.support.symbols import npy, zipped

DRAWS = 200
Reals = NDArray[np.float64]


def drawn(model: PathModel, duration: float, count: int = DRAWS) -> list[Paths]:
    return [draw_paths(model, duration, generator(seed, "test")) for seed in range(count)]


def moments(delays: Reals, powers: Reals) -> tuple[float, float]:
    """Sum of the powers, and RMS delay spread."""
    share = powers / powers.sum()
    return float(powers.sum()), float(np.sqrt(share @ delays**2 - (share @ delays) ** 2))


@pytest.mark.parametrize("letter", TABLES)
def test_tables_have_the_delay_spread_that_they_are_scaled_by(letter: str) -> None:
    delays, powers_db = map(np.array, TABLES[letter])
    assert len(delays) == len(powers_db) == {"a": 23, "b": 23, "c": 24, "d": 14, "e": 15}[letter]
    assert moments(delays, 10 ** (powers_db / 10))[1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("letter", "ace")
def test_taps_have_the_table_s_delays_and_powers(letter: Any) -> None:
    found = drawn(PathModel(tdl=letter, delay_spread=300e-9, speed=50), 1e-4)
    powers = np.mean([np.mean(np.abs(each.gains) ** 2, 1) for each in found], 0)
    expected = 10 ** (np.array(TABLES[letter][1]) / 10)
    expected /= expected.sum()
    np.testing.assert_allclose(found[0].delays, 300e-9 * np.array(TABLES[letter][0]))
    np.testing.assert_allclose(powers, expected, rtol=6 / DRAWS**0.5)  # six standard deviations of an exponential's mean
    assert powers.sum() == pytest.approx(1, abs=0.1)
    if letter == "e":  # the line of sight does not fade
        assert all(np.abs(each.gains[0]) == pytest.approx(expected[0] ** 0.5, rel=1e-5) for each in found)


def correlation(found: list[Paths], taps: slice) -> NDArray[np.complex128]:
    """E a*(0) a(t) over draws and taps, each of power 1."""
    gains = np.stack([each.gains[taps] for each in found]).astype(np.complex128)
    gains /= np.sqrt(np.mean(np.abs(gains) ** 2, (0, 2), keepdims=True))
    mean: NDArray[np.complex128] = np.mean(gains[:, :, :1].conj() * gains, (0, 1))
    return mean


def test_taps_have_jakes_spectrum_and_fade_as_rayleigh_s() -> None:
    model = PathModel(tdl="b", speed=120)
    assert model.doppler == pytest.approx(120 / 3.6 * 3.5e9 / 299792458)
    found = drawn(model, 1.5 / model.doppler)
    times = found[0].interval * np.arange(found[0].gains.shape[1])
    expected = j0(2 * np.pi * model.doppler * times)
    np.testing.assert_allclose(correlation(found, slice(None)), expected, atol=5 / (23 * DRAWS) ** 0.5)
    assert expected.min() < -0.35  # far enough to be told from other spectra
    gains = np.stack([each.gains[:, 0] for each in found]).astype(np.complex128)
    gains /= np.sqrt(np.mean(np.abs(gains) ** 2, 0))
    assert np.mean(np.abs(gains) ** 4) == pytest.approx(2, abs=0.15)  # of a complex Gaussian
    across = np.abs(gains.T.conj() @ gains / DRAWS - np.eye(23))
    assert np.sqrt(np.mean(across**2)) < 1.5 / DRAWS**0.5  # taps are independent


def test_line_of_sight_has_its_doppler_shift() -> None:
    model = PathModel(tdl="d", speed=300)
    path = draw_paths(model, 3 / model.doppler, generator(0, "test"))
    turned = path.gains[0] / path.gains[0, 0]
    times = path.interval * np.arange(turned.size)
    np.testing.assert_allclose(turned, np.exp(2j * np.pi * 0.7 * model.doppler * times), atol=1e-4)


def test_paths_at_rest_stay_and_between_samples_gains_are_interpolated() -> None:
    still = draw_paths(PathModel(tdl="a", speed=0), 1.0, generator(0, "test"))
    assert still.gains.shape == (23, 1)
    np.testing.assert_array_equal(still.at(np.array([[0.0, 0.3], [0.9, 1.0]])), np.broadcast_to(still.gains[..., None], (23, 2, 2)))
    shifting = Paths(np.zeros(1), np.exp(2j * np.pi * np.arange(130) / 64)[None].astype(np.complex64), 1 / 64)
    times = np.linspace(0, 2, 500)
    np.testing.assert_allclose(shifting.at(times)[0], np.exp(2j * np.pi * times), atol=1.3e-3)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "exactly one"), ({"tdl": "a", "umi": "los"}, "exactly one"), ({"tdl": "f"}, "a, b, c"),
        ({"umi": "los", "delay_spread": 1e-7}, "delay_spread"), ({"tdl": "a", "speed": -1.0}, "speed"),
        ({"tdl": "a", "speed": float("nan")}, "speed"), ({"tdl": "a", "pilot_period": 1.5}, "pilot_period"),
    ],
)  # fmt: skip
def test_models_that_are_none_are_refused(given: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        PathModel(**given)


def test_without_sionna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sionna.phy", None)
    with pytest.raises(InputError, match=r"^channel: CDL, UMi and UMa need Sionna; pip install 'gencomm\[sionna\]', or use --tdl$"):
        draw_paths(PathModel(cdl="a"), 1e-3, generator(0, "test"))


def test_tdl_has_sionna_s_statistics() -> None:
    pytest.importorskip("sionna", reason="the extra gencomm[sionna] is not installed")
    from sionna.phy import config  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from sionna.phy.channel.tr38901 import TDL  # type: ignore[import-not-found, import-untyped, unused-ignore]

    config.seed = 1
    for letter in TABLES:
        model = PathModel(tdl=letter, delay_spread=200e-9, speed=120)  # type: ignore[arg-type]
        ours = drawn(model, 1 / model.doppler, 120)
        other = TDL(letter.upper(), 200e-9, 3.5e9, min_speed=120 / 3.6)
        gains, delays = other(DRAWS, 13, 0.2 / ours[0].interval)
        theirs, at = gains.numpy()[:, 0, 0, 0, 0].astype(np.complex128), delays.numpy()[0, 0, 0].astype(np.float64)
        powers = np.mean([np.mean(np.abs(each.gains) ** 2, 1) for each in ours], 0)
        ends = moments(ours[0].delays, powers), moments(at, np.mean(np.abs(theirs) ** 2, (0, 2)))
        assert ends[0] == pytest.approx(ends[1], rel=0.12)  # power, and delay spread
        first = 1 if letter in "de" else 0  # the line of sight: a path of its own here, within the first one there
        theirs = theirs[:, first:] / np.sqrt(np.mean(np.abs(theirs[:, first:]) ** 2, (0, 2), keepdims=True))
        doppler = np.mean(theirs[..., :1].conj() * theirs, (0, 1))
        np.testing.assert_allclose(correlation(ours, slice(2 * first, None))[:61:5], doppler, atol=6 / (12 * 120) ** 0.5)


@pytest.mark.parametrize("given", [{"cdl": "a", "delay_spread": 1e-7}, {"umi": "los"}, {"uma": "nlos"}])
def test_sionna_s_models_give_paths_of_mean_power_one(given: dict[str, Any]) -> None:
    pytest.importorskip("sionna", reason="the extra gencomm[sionna] is not installed")
    model = PathModel(**given, speed=120)
    found = drawn(model, 1e-3, 10)
    assert np.mean([np.sum(np.abs(each.gains[:, 0]) ** 2) for each in found]) == pytest.approx(1, abs=0.35)
    for each in found:
        assert each.delays.min() == 0
        assert each.delays.max() < 2e-5
        assert each.at(np.linspace(0, 1e-3, 9)).shape == (each.delays.size, 9)
    again = draw_paths(model, 1e-3, generator(0, "test"))
    np.testing.assert_array_equal(again.gains, found[0].gains)
    if "cdl" in given:
        powers = np.mean([np.mean(np.abs(each.gains) ** 2, 1) for each in found], 0)
        assert moments(found[0].delays, powers)[1] == pytest.approx(1e-7, rel=0.2)


# --- from files


def saved(**changes: Any) -> bytes:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "delays": np.array([2e-6, 2.5e-6]), "gains": 7 * (rng.normal(size=(50, 2)) + 1j * rng.normal(size=(50, 2))),
        "interval": np.array([1e-4]),
    } | changes  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def reread(tmp_path: Path, data: bytes) -> measured.Measured:
    (tmp_path / "cir.npz").write_bytes(data)
    return measured.read(tmp_path / "cir.npz")


def test_measured_paths_have_mean_power_one_and_the_speed_at_which_they_were_measured(tmp_path: Path) -> None:
    found = reread(tmp_path, saved())
    np.testing.assert_allclose(found.paths.delays, [0, 5e-7], atol=1e-12)
    assert np.mean(np.sum(np.abs(found.paths.gains) ** 2, 0)) == pytest.approx(1, rel=1e-5)
    rng = generator(0, "test")
    part = found.excerpt(1e-3, rng)
    assert part.gains.shape == (2, 11)
    start = np.flatnonzero(np.all(part.gains[:, 0] == found.paths.gains.T, 1))[0]
    np.testing.assert_array_equal(part.gains, found.paths.gains[:, start : start + 11])
    with pytest.raises(InputError, match=r"cir: the measurement lasts 0\.0049 s"):
        found.excerpt(1.0, rng)
    model = PathModel(tdl="c", speed=80)
    paths = draw_paths(model, 40 / model.doppler, rng)
    written = reread(tmp_path, saved(delays=paths.delays, gains=paths.gains.T, interval=np.array(paths.interval)))
    assert written.doppler == pytest.approx(model.doppler, rel=0.15)
    still = reread(tmp_path, saved(gains=np.ones((1, 2), np.complex64)))
    assert still.doppler == 0
    assert still.excerpt(1e9, rng).gains.shape == (2, 1)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "not an intact"), (b"PK", "not an intact"), (saved()[:-80], "not an intact"),
        (saved(more=np.ones(3)), "were expected"), (zipped([("delays.npy", b"")]), "were expected"),
        (saved(delays=np.array([0, np.nan])), "delays that are not finite"), (saved(delays=np.array([0, np.inf])), "delays"),
        (saved(delays=np.array([0, 2.0])), "more than 1 s"), (saved(delays=np.zeros(3)), "shapes"),
        (saved(delays=np.zeros((1, 2))), "shapes"), (saved(gains=np.ones((0, 2), np.complex64)), "shapes"),
        (saved(gains=np.ones((5, 2))), "complex64 or complex128"), (saved(gains=np.zeros((5, 2), np.complex64)), "all zero"),
        (saved(gains=np.full((5, 2), np.nan + 0j)), "not finite"), (saved(gains=np.full((5, 2), np.inf + 0j)), "not finite"),
        (saved(interval=np.zeros(1)), "interval"), (saved(interval=np.ones(2)), "interval"),
        (saved(interval=np.array([np.nan])), "interval"), (saved(delays=np.array([None, None])), "delays as object"),
        (saved(delays=np.zeros(5000), gains=np.ones((1, 5000), np.complex64)), "4096"),
    ],
)  # fmt: skip
def test_files_that_are_no_impulse_responses_are_refused_in_one_line(tmp_path: Path, data: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        reread(tmp_path, data)
    assert str(caught.value).startswith("--cir: ")
    assert "\n" not in str(caught.value)


def test_claimed_sizes_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    sound = {"delays": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes(16)), "interval": b""}
    for shape in ("(9000000000000, 2)", "(4, 2)", "(-1, 2)", "(2, 2, 2, 2)"):
        huge = npy(f"{{'descr': '<c8', 'fortran_order': False, 'shape': {shape}, }}", bytes(16))
        with pytest.raises(InputError, match=r"gains|intact"):
            reread(tmp_path, zipped([(f"{name}.npy", content) for name, content in (sound | {"gains": huge}).items()]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped([(f"{name}.npy", b"") for name in ("delays", "gains", "interval", "gains")])
    with pytest.raises(InputError, match="were expected"):
        reread(tmp_path, twice)
    with pytest.raises(InputError, match="no such file"):
        measured.read(tmp_path / "nothing.npz")


def test_a_waveform_goes_over_the_same_paths() -> None:
    """A tone in the middle of a band, and whole delays of any signal."""
    model, rate = PathModel(tdl="b", delay_spread=300e-9, speed=300), 2e6
    paths = draw_paths(model, 2e-3, generator(0, "test"))
    time = np.arange(4000) / rate
    tone = (np.hanning(4000) * np.exp(2j * np.pi * 2e5 * time)).astype(np.complex64)
    gains: NDArray[np.complex128] = np.exp(-2j * np.pi * 2e5 * paths.delays) @ paths.at(time)
    np.testing.assert_allclose(over_paths(tone, paths, rate), tone * gains, atol=5e-3)
    signal = draw_noise(300, generator(1, "test"))
    late = over_paths(signal, Paths(np.array([0, 7]) / rate, np.array([[1], [0.5j]], np.complex64), 1.0), rate)
    earlier = np.zeros_like(signal)
    earlier[7:] = signal[:-7]
    np.testing.assert_allclose(late, signal + np.complex64(0.5j) * earlier, atol=1e-5)
