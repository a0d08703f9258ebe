"""The scripts of examples/radio: with radios of software in the place of real ones, and without what they need."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SCRIPTS = Path(__file__).parents[1] / "examples" / "radio"
RNG = np.random.default_rng(0)
NOISE = np.convolve(RNG.normal(size=20_000) + 1j * RNG.normal(size=20_000), np.hanning(12), "same")
BURST = (0.5 * NOISE / np.abs(NOISE).max()).astype(np.complex64)
needs_recordings = pytest.mark.skipif(
    importlib.util.find_spec("gencomm_cli.radio") is None, reason="this gencomm has no recordings"
)  # fmt: skip


def run(script: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


class SoapyRadio:
    """What was sent comes back, after one overflow; transfers are short, as drivers' are."""

    kept: NDArray[np.complex64] = np.empty(0, np.complex64)

    def __init__(self, name: str) -> None:
        self.set: dict[str, object] = {"device": name}
        self.position, self.overflown, self.flags = 0, False, 0

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **more: self.set.update({name: given})

    def getSampleRate(self, direction: int, channel: int) -> float:
        return 1e6

    def writeStream(self, stream: object, buffers: Any, count: int, flags: int = 0, timeoutUs: int = 0) -> object:
        taken = buffers[0][: min(count, 5000)]
        SoapyRadio.kept = np.concatenate((SoapyRadio.kept, taken))
        self.flags = flags
        return SimpleNamespace(ret=taken.size)

    def readStream(self, stream: object, buffers: Any, count: int, timeoutUs: int = 0) -> object:
        if not self.overflown:
            self.overflown = True
            return SimpleNamespace(ret=-4)
        part = SoapyRadio.kept[self.position : self.position + min(count, 3000)]
        buffers[0][: part.size] = part
        self.position += part.size
        return SimpleNamespace(ret=part.size or -1)


@needs_recordings
def test_soapy_sends_a_recording_and_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module: Any = ModuleType("SoapySDR")
    module.__dict__.update(
        SOAPY_SDR_TX=0, SOAPY_SDR_RX=1, SOAPY_SDR_CF32="CF32", SOAPY_SDR_END_BURST=2, SOAPY_SDR_OVERFLOW=-4, Device=SoapyRadio,
        errToStr=lambda code: "TIMEOUT",
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "SoapySDR", module)
    monkeypatch.setattr(SoapyRadio, "kept", np.empty(0, np.complex64))
    BURST.tofile(tmp_path / "tx.cf32")
    run("soapy.py", "transmit", tmp_path / "tx.cf32", "--frequency", 1e9, "--repeat", 2, monkeypatch=monkeypatch)
    np.testing.assert_array_equal(SoapyRadio.kept, np.tile(BURST, 2))
    arguments = ["--frequency", 1e9, "--sample-rate", 1e6, "--seconds", 0.02]
    run("soapy.py", "receive", tmp_path / "rx.cf32", *arguments, monkeypatch=monkeypatch)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "rx.cf32", np.complex64), BURST)
    assert "1 gaps" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^error: the radio gives no samples \(TIMEOUT\)"):
        run("soapy.py", "receive", tmp_path / "rx.cf32", *arguments[:-1], 1, monkeypatch=monkeypatch)
    with pytest.raises(SystemExit, match=r"^error: .*no such file"):
        run("soapy.py", "transmit", tmp_path / "none.cf32", "--frequency", 1e9, monkeypatch=monkeypatch)


class PlutoRadio:
    """What was sent comes back over and over, with the receiver's 12 bits."""

    held: NDArray[np.complex64] = np.empty(0, np.complex64)
    rx_buffer_size = 0

    def __init__(self, uri: str) -> None:
        if uri != "ip:here":
            raise Exception("No device found")
        self.position = 0

    def tx(self, samples: NDArray[np.complex64]) -> None:
        PlutoRadio.held = samples

    def tx_destroy_buffer(self) -> None:
        """Nothing is held in a driver."""

    def rx(self) -> NDArray[np.complex64]:
        again = np.tile(PlutoRadio.held / 8, 2)[self.position : self.position + self.rx_buffer_size]
        self.position += self.rx_buffer_size
        return np.round(again).astype(np.complex64)


@needs_recordings
def test_pluto_sends_a_recording_and_records_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("adi")
    module.Pluto = PlutoRadio
    monkeypatch.setitem(sys.modules, "adi", module)
    BURST.tofile(tmp_path / "tx.cf32")
    common = ["--frequency", 1e9, "--uri", "ip:here"]
    run("pluto.py", "transmit", tmp_path / "tx.cf32", *common, "--seconds", 0, monkeypatch=monkeypatch)
    assert np.abs(PlutoRadio.held).max() == pytest.approx(2**13, rel=1e-3)
    given = [*common, "--sample-rate", 1e6, "--seconds", 0.02]
    run("pluto.py", "receive", tmp_path / "rx.cf32", *given, monkeypatch=monkeypatch)
    np.testing.assert_allclose(np.fromfile(tmp_path / "rx.cf32", np.complex64), BURST, atol=1e-3)
    with pytest.raises(SystemExit, match=r"^error: No device found; name the radio with --uri$"):
        run("pluto.py", "transmit", tmp_path / "tx.cf32", "--frequency", 1e9, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("script", "module"), [("soapy.py", "SoapySDR"), ("pluto.py", "adi"), ("gnuradio_channel.py", "gnuradio")]
)  # fmt: skip
def test_without_their_libraries_the_scripts_say_what_to_install(script: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=rf"^error: .*{'GNU Radio|SoapySDR|pyadi-iio'}.* install[^\n]*$"):
        run(script, monkeypatch=monkeypatch)


def test_gnu_radio_s_channel_passes_a_recording(tmp_path: Path) -> None:
    """Where the system's Python has GNU Radio, which is not on PyPI."""
    python = "/usr/bin/python3"
    found = Path(python).exists() and subprocess.run([python, "-c", "import gnuradio.channels"], capture_output=True, check=False)
    if not found or found.returncode:
        pytest.skip("GNU Radio is not installed")
    BURST.tofile(tmp_path / "tx.cf32")
    files = [tmp_path / "tx.cf32", tmp_path / "rx.cf32"]
    subprocess.run(
        [python, SCRIPTS / "gnuradio_channel.py", *files, "--snr", "30", "--taps", "0.5j"], check=True, capture_output=True
    )
    received = np.fromfile(files[1], np.complex64)
    assert received.size > BURST.size
    lag = int(np.argmax(np.abs(np.convolve(received, BURST[:2000][::-1].conj(), "valid"))))
    error = received[lag : lag + BURST.size] - 0.5j * BURST
    assert np.mean(np.abs(error[200:-200]) ** 2) == pytest.approx(2e-3 * np.mean(np.abs(BURST) ** 2), rel=0.3)
