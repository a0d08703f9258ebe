"""One transmission of a bench: exactly what ``gencomm roundtrip`` does, with the figures that a row holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from gencomm_cli import pipeline
from gencomm_cli.bench import channels
from gencomm_cli.bench.options import channel_arguments, decode_arguments
from gencomm_cli.bench.plan import Scheme
from gencomm_cli.bench.rows import Cell
from gencomm_cli.images import Pixels
from gencomm_cli.methods.base import ClassicalOptions, DecodeOptions, Fading
from gencomm_cli.reception import channel_state
from gencomm_cli.symbols import Header, SymbolFile


@dataclass(frozen=True)
class Transmission:
    """What was sent and received. ``seconds`` of encode, channel, decode."""

    sent: SymbolFile
    received: SymbolFile
    reception: pipeline.Reception
    seconds: dict[str, float]


def encode_options(cell: Cell, scheme: Scheme) -> pipeline.EncodeOptions:
    """What the cell asks of the transmitter. It cannot be told an Eb/N0, which its own mode makes an Es/N0."""
    of_channel = None if cell.snr_type == "ebn0" else cell.snr_db
    told = {"channel": of_channel, "unknown": None}.get(str(cell.tx_snr_db), cell.tx_snr_db)
    classical = ClassicalOptions(
        scheme.image_codec or ClassicalOptions.codec, cell.modulation, cell.code_rate, cell.fec, scheme.capacity
    )
    kind, ofdm = channels.parse(cell.channel)
    fading: Fading = "unknown" if cell.tx_snr_db == "unknown" else kind
    gain = pipeline.told_gain(scheme.method, kind, cell.seed + cell.repeat) if fading != "unknown" else None
    return pipeline.EncodeOptions(
        cbr=cell.cbr,
        cbr_is_total=cell.cbr_is_total,
        snr_db=told,  # type: ignore[arg-type]
        fading=fading,
        gain=gain,
        prompt=cell.prompt_text or None,
        captioner="none" if cell.prompt_text else cell.prompt,
        classical=classical,
        channel=pipeline.channel_record(kind, cell.snr_db, cell.snr_type, cell.csi, ofdm),  # type: ignore[arg-type]
    )


def transmit(pixels: Pixels, codec: pipeline.Codec, cell: Cell, scheme: Scheme) -> Transmission:
    """Sends an image [H, W, 3] as the cell says; ``scheme.coarse`` leaves the diffusion out.

    Raises:
        RateError: the rate cannot be met. InputError: what the pipeline refuses.
    """
    seed, say = cell.seed + cell.repeat, _silent
    clock = [time.perf_counter()]
    sent, _ = pipeline.encode(pixels, codec, encode_options(cell, scheme), say)
    clock.append(time.perf_counter())
    kind, ofdm = channels.parse(cell.channel)
    told = channel_arguments(cell.options)
    received = pipeline.pass_channel(
        sent, kind=kind, snr_db=cell.snr_db, snr_type=cell.snr_type, csi=cell.csi, seed=seed, ofdm=ofdm,  # type: ignore[arg-type]
        rx_snr_db=told.get("rx_snr"),
    )  # fmt: skip
    clock.append(time.perf_counter())
    options = DecodeOptions(cell.steps, cell.guidance, coarse=scheme.coarse, **decode_arguments(cell.options))
    reception = pipeline.decode(
        received, codec, options, seed=seed, use_prompt=True, strict=False, say=say, estimator=told.get("estimator", "lmmse")
    )
    clock.append(time.perf_counter())
    stages = zip(("encode", "channel", "decode"), clock, clock[1:], strict=False)
    return Transmission(sent, received, reception, {name: end - start for name, start, end in stages})


def figures(trip: Transmission, cell: Cell) -> dict[str, Any]:
    """The fields of a row that the symbols determine: cbr, symbols, bits, prompt_ok, side_ok, classical, signal."""
    from gencomm_cli.metrics.signal import evm_percent, received_snr_db

    sent, received, header = trip.sent, trip.received, trip.received.header
    assert header.channel is not None
    assert header.n0 is not None
    gain = channel_state(received, channel_arguments(cell.options).get("estimator", "lmmse")).gain
    known = header.channel.rx_snr_db is None and (header.channel.kind == "awgn" or header.channel.csi == "perfect")
    return {
        "cbr": asdict(header.cbr),
        "symbols": {"image": sent.symbols.size, "prompt": sent.prompt_symbols.size, "side": sent.side_symbols.size},
        "bits": {
            "image": None if header.classical is None else 8 * header.classical.payload_bytes,
            "prompt": None if header.prompt is None else header.prompt.payload_bits,
        },
        "prompt_ok": trip.reception.prompt_ok,
        "side_ok": trip.reception.side_ok,
        "classical": None if header.classical is None else _classical(header, cell),
        "signal": {
            "received_snr_db": received_snr_db(sent.symbols, gain, header.n0) if known else None,
            "evm_percent": evm_percent(sent.symbols, received.symbols, gain),
        },
    }


def _classical(header: Header, cell: Cell) -> dict[str, Any]:
    from gencomm_cli.methods.separate.codecs import CODECS

    assert header.classical is not None
    used = header.cbr.total if cell.cbr_is_total else header.cbr.image + header.cbr.side
    tool = CODECS[header.classical.codec].version()
    left_out = header.provenance.container_bytes
    return asdict(header.classical) | {"container_bytes": left_out, "tool": tool, "budget_met": used <= cell.cbr * (1 + 1e-9)}


_silent: Callable[[str], None] = lambda line: None  # noqa: E731
