"""Sends a recording of `gencomm modulate` by an ADALM-PLUTO (pyadi-iio), or records one for `gencomm demodulate`.

    python3 pluto.py transmit tx.sigmf --frequency 2.45e9 --gain -20 --seconds 10
    python3 pluto.py receive rx.sigmf --frequency 2.45e9 --sample-rate 2e6 --seconds 1

This was not run on hardware: it was written after pyadi-iio 0.0.21, and tested with a stand-in in its place.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

try:
    import adi
except (ImportError, OSError, AttributeError):  # the last two where libiio itself is missing
    sys.exit("error: pyadi-iio or libiio is not installed; run `pip install pyadi-iio` and install libiio0")
try:
    from gencomm_cli.errors import InputError
    from gencomm_cli.radio import recordings
except ImportError:
    sys.exit("error: gencomm is not installed for this Python; run `pip install 'gencomm[radio]'` with it")

FULL_SCALE = 2**14
"""What the transmitter's converter takes for 1."""
RECEIVED_FULL_SCALE = 2**11
"""The receiver's converter has 12 bits."""
AT_ONCE = 2**18


def radio(arguments: argparse.Namespace, sample_rate: float) -> Any:
    """The device at a sample rate."""
    device = adi.Pluto(arguments.uri)
    device.sample_rate = round(sample_rate)
    return device


def transmit(arguments: argparse.Namespace) -> None:
    """Sends the recording over and over for ``--seconds``: the radio repeats what it holds, without a gap."""
    recording = recordings.read(arguments.recording)
    samples = recording.read(0, len(recording))
    device = radio(arguments, arguments.sample_rate or recording.sample_rate)
    device.tx_rf_bandwidth = device.sample_rate
    device.tx_lo = round(arguments.frequency)
    device.tx_hardwaregain_chan0 = -20.0 if arguments.gain is None else arguments.gain
    device.tx_cyclic_buffer = True
    try:
        device.tx(FULL_SCALE * samples)
        time.sleep(arguments.seconds)
    finally:
        device.tx_destroy_buffer()
    print(f"{samples.size} samples sent over and over for {arguments.seconds:g} s")


def receive(arguments: argparse.Namespace) -> None:
    """Records for ``--seconds``, in buffers between which samples may be lost where the connection is too slow for the rate."""
    device = radio(arguments, arguments.sample_rate)
    device.rx_rf_bandwidth = device.sample_rate
    device.rx_lo = round(arguments.frequency)
    if arguments.gain is not None:
        device.gain_control_mode_chan0 = "manual"
        device.rx_hardwaregain_chan0 = arguments.gain
    count = round(arguments.seconds * device.sample_rate)
    device.rx_buffer_size = min(count, AT_ONCE)
    parts = [device.rx() for _ in range(-(-count // device.rx_buffer_size))]
    samples = (np.concatenate(parts)[:count] / RECEIVED_FULL_SCALE).astype(np.complex64)
    recording = recordings.of_samples(samples, float(device.sample_rate))
    for path, content in recordings.files(arguments.recording, recording).items():
        path.write_bytes(content)
    print(f"{arguments.recording}: {samples.size} samples at {device.sample_rate:g} Hz")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=["transmit", "receive"])
    parser.add_argument("recording", type=Path, help=".sigmf, .sigmf-meta, .cf32 or .ci16")
    parser.add_argument("--uri", default="ip:192.168.2.1", help="of the radio; default ip:192.168.2.1")
    parser.add_argument("--frequency", type=float, required=True, help="Hz")
    parser.add_argument("--gain", type=float, help="dB; to send -89 to 0, default -20; to receive 0 to 73, default automatic")
    parser.add_argument("--sample-rate", type=float, help="Hz, 521e3 to 61e6; to send, the recording's if not given")
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    if arguments.direction == "receive" and arguments.sample_rate is None:
        parser.error("--sample-rate: is needed to receive")
    try:
        (transmit if arguments.direction == "transmit" else receive)(arguments)
    except (InputError, OSError) as error:  # libiio's are OSErrors
        sys.exit(f"error: {error}")
    except Exception as error:
        if type(error) is not Exception:  # "No device found", as pyadi-iio says it
            raise
        sys.exit(f"error: {error}; name the radio with --uri")


if __name__ == "__main__":
    main()
