"""One transmission of a bench: exactly what ``gencomm roundtrip`` does, with the figures that a row holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from gencomm_cli import pipeline
from gencomm_cli.bench.plan import Scheme
from gencomm_cli.bench.rows import Cell
from gencomm_cli.images import Pixels
from gencomm_cli.methods.base import DecodeOptions, Fading
from gencomm_cli.symbols import SymbolFile


@dataclass(frozen=True)
class Transmission:
    """What was sent and received. ``seconds`` of encode, channel, decode."""

    sent: SymbolFile
    received: SymbolFile
    reception: pipeline.Reception
    seconds: dict[str, float]


def encode_options(cell: Cell) -> pipeline.EncodeOptions:
    """What the cell asks of the transmitter."""
    told = {"channel": cell.snr_db, "unknown": None}.get(str(cell.tx_snr_db), cell.tx_snr_db)
    fading: Fading = "unknown" if cell.tx_snr_db == "unknown" else cell.channel  # type: ignore[assignment]
    return pipeline.EncodeOptions(
        cbr=cell.cbr,
        cbr_is_total=cell.cbr_is_total,
        snr_db=told,  # type: ignore[arg-type]
        fading=fading,
        prompt=cell.prompt_text or None,
        captioner="none" if cell.prompt_text else cell.prompt,
    )


def transmit(pixels: Pixels, codec: pipeline.Codec, cell: Cell, scheme: Scheme) -> Transmission:
    """Sends an image [H, W, 3] as the cell says; ``scheme.coarse`` leaves the diffusion out.

    Raises:
        RateError: the rate cannot be met. InputError: what the pipeline refuses.
    """
    seed, say = cell.seed + cell.repeat, _silent
    clock = [time.perf_counter()]
    sent, _ = pipeline.encode(pixels, codec, encode_options(cell), say)
    clock.append(time.perf_counter())
    received = pipeline.pass_channel(
        sent, kind=cell.channel, snr_db=cell.snr_db, snr_type=cell.snr_type, csi=cell.csi, seed=seed  # type: ignore[arg-type]
    )  # fmt: skip
    clock.append(time.perf_counter())
    options = DecodeOptions(cell.steps, cell.guidance, coarse=scheme.coarse)
    reception = pipeline.decode(received, codec, options, seed=seed, use_prompt=True, strict=False, say=say)
    clock.append(time.perf_counter())
    stages = zip(("encode", "channel", "decode"), clock, clock[1:], strict=False)
    return Transmission(sent, received, reception, {name: end - start for name, start, end in stages})


def figures(trip: Transmission) -> dict[str, Any]:
    """The fields of a row that the symbols determine: cbr, symbols, bits, prompt_ok, classical, signal."""
    from gencomm_cli.metrics.signal import evm_percent, received_snr_db

    sent, received, header = trip.sent, trip.received, trip.sent.header
    known = received.csi_gain is not None or (received.header.channel is not None and received.header.channel.kind == "awgn")
    assert received.header.n0 is not None
    return {
        "cbr": asdict(header.cbr),
        "symbols": {"image": sent.symbols.size, "prompt": sent.prompt_symbols.size, "side": sent.side_symbols.size},
        "bits": {
            "image": None if header.classical is None else 8 * header.classical.payload_bytes,
            "prompt": None if header.prompt is None else header.prompt.payload_bits,
        },
        "prompt_ok": trip.reception.prompt_ok,
        "classical": None if header.classical is None else asdict(header.classical),
        "signal": {
            "received_snr_db": received_snr_db(sent.symbols, received.csi_gain, received.header.n0) if known else None,
            "evm_percent": evm_percent(sent.symbols, received.symbols, received.csi_gain),
        },
    }


_silent: Callable[[str], None] = lambda line: None  # noqa: E731
