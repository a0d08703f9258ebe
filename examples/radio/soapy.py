"""Sends a recording of `gencomm modulate` by any radio of SoapySDR, or records one for `gencomm demodulate`.

    python3 soapy.py transmit tx.sigmf --device driver=lime --frequency 2.45e9 --gain 20
    python3 soapy.py receive rx.sigmf --device driver=rtlsdr --frequency 2.45e9 --sample-rate 2e6 --seconds 3

This was not run on hardware: it was written after SoapySDR 0.8.1, and tested with a stand-in in its place.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    import SoapySDR
    from SoapySDR import SOAPY_SDR_CF32, SOAPY_SDR_END_BURST, SOAPY_SDR_OVERFLOW, SOAPY_SDR_RX, SOAPY_SDR_TX
except ImportError:
    sys.exit("error: SoapySDR is not installed; get it from your distribution (apt install python3-soapysdr soapysdr-module-all)")
try:
    from gencomm_cli.errors import InputError
    from gencomm_cli.radio import recordings
except ImportError:
    sys.exit("error: gencomm is not installed for this Python; run `pip install 'gencomm[radio]'` with it")

AT_ONCE = 2**14


def radio(arguments: argparse.Namespace, direction: int, sample_rate: float) -> Any:
    """The device, tuned."""
    device = SoapySDR.Device(arguments.device)
    device.setSampleRate(direction, arguments.channel, sample_rate)
    device.setFrequency(direction, arguments.channel, arguments.frequency)
    if arguments.gain is not None:
        device.setGain(direction, arguments.channel, arguments.gain)
    if arguments.antenna is not None:
        device.setAntenna(direction, arguments.channel, arguments.antenna)
    return device


def transmit(arguments: argparse.Namespace) -> None:
    """Sends the recording, ``--repeat`` times without a gap."""
    recording = recordings.read(arguments.recording)
    samples = recording.read(0, len(recording))
    device = radio(arguments, SOAPY_SDR_TX, arguments.sample_rate or recording.sample_rate)
    stream = device.setupStream(SOAPY_SDR_TX, SOAPY_SDR_CF32, [arguments.channel])
    device.activateStream(stream)
    try:
        for number in range(arguments.repeat):
            sent = 0
            while sent < samples.size:
                part = samples[sent : sent + AT_ONCE]
                last = number == arguments.repeat - 1 and sent + part.size == samples.size
                result = device.writeStream(stream, [part], part.size, SOAPY_SDR_END_BURST if last else 0, timeoutUs=1_000_000)
                if result.ret <= 0:
                    sys.exit(f"error: the radio takes no samples ({SoapySDR.errToStr(result.ret)}); lower the sample rate")
                sent += result.ret
        device.readStreamStatus(stream, timeoutUs=1_000_000)  # what is on its way is sent before the stream is closed
    finally:
        device.deactivateStream(stream)
        device.closeStream(stream)
    print(f"{samples.size * arguments.repeat} samples sent")


def receive(arguments: argparse.Namespace) -> None:
    """Records for ``--seconds``; gaps where the computer was too slow are counted."""
    device = radio(arguments, SOAPY_SDR_RX, arguments.sample_rate)
    sample_rate = device.getSampleRate(SOAPY_SDR_RX, arguments.channel)
    samples = np.zeros(round(arguments.seconds * sample_rate), np.complex64)
    stream = device.setupStream(SOAPY_SDR_RX, SOAPY_SDR_CF32, [arguments.channel])
    device.activateStream(stream)
    received = gaps = 0
    try:
        while received < samples.size:
            part = samples[received : received + AT_ONCE]
            result = device.readStream(stream, [part], part.size, timeoutUs=1_000_000)
            if result.ret == SOAPY_SDR_OVERFLOW:
                gaps += 1
            elif result.ret <= 0:
                sys.exit(f"error: the radio gives no samples ({SoapySDR.errToStr(result.ret)}); is it in use elsewhere?")
            else:
                received += result.ret
    finally:
        device.deactivateStream(stream)
        device.closeStream(stream)
    for path, content in recordings.files(arguments.recording, recordings.of_samples(samples, sample_rate)).items():
        path.write_bytes(content)
    print(f"{arguments.recording}: {samples.size} samples at {sample_rate:g} Hz, {gaps} gaps")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=["transmit", "receive"])
    parser.add_argument("recording", type=Path, help=".sigmf, .sigmf-meta, .cf32 or .ci16")
    parser.add_argument("--device", default="", help="such as driver=lime; the first that SoapySDR finds if not given")
    parser.add_argument("--channel", type=int, default=0)
    parser.add_argument("--antenna", help="such as TX/RX; the driver's default if not given")
    parser.add_argument("--frequency", type=float, required=True, help="Hz")
    parser.add_argument("--gain", type=float, help="dB; the driver's default if not given")
    parser.add_argument("--sample-rate", type=float, help="Hz; to send, the recording's if not given; to receive, it is needed")
    parser.add_argument("--repeat", type=int, default=1, help="to send the recording so often")
    parser.add_argument("--seconds", type=float, default=2.0, help="to receive")
    arguments = parser.parse_args()
    if arguments.direction == "receive" and arguments.sample_rate is None:
        parser.error("--sample-rate: is needed to receive")
    try:
        (transmit if arguments.direction == "transmit" else receive)(arguments)
    except (InputError, RuntimeError) as error:  # SoapySDR's are RuntimeErrors
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
