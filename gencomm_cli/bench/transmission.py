"""One transmission of a bench: exactly what ``gencomm roundtrip`` does, with the figures that a row holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gencomm_cli import pipeline
from gencomm_cli.bench import channels
from gencomm_cli.bench.options import built
from gencomm_cli.bench.plan import Scheme
from gencomm_cli.bench.rows import Cell
from gencomm_cli.images import Pixels
from gencomm_cli.reception import channel_state
from gencomm_cli.symbols import Header


def transmit(pixels: Pixels, codec: pipeline.Codec, cell: Cell, scheme: Scheme) -> pipeline.RoundTrip:
    """Sends an image [H, W, 3] as the cell says; ``scheme.coarse`` leaves the diffusion out.

    Raises:
        RateError: the rate cannot be met. InputError: what the pipeline refuses.
    """
    channel = channels.parse(cell.channel)
    transmitter, receiver, known = built(scheme.spec, scheme.given(cell, coarse=scheme.coarse))
    return codec.roundtrip(
        pixels,
        pipeline.channel_record(
            channel.kind,
            cell.snr_db,
            cell.snr_type,  # type: ignore[arg-type]
            cell.csi,  # type: ignore[arg-type]
            channel.ofdm,
            known.rx_snr,
            known.over(channel.paths),
        ),
        cbr=None if cell.cbr_is_total else cell.cbr,
        cbr_total=cell.cbr if cell.cbr_is_total else None,
        tx_snr=cell.tx_snr_db,  # type: ignore[arg-type]
        seed=cell.own_seed,
        estimator=known.estimator,
        transmitter=transmitter,
        receiver=receiver,
    )


def figures(trip: pipeline.RoundTrip, cell: Cell) -> dict[str, Any]:
    """The fields of a row that the symbols determine: cbr, symbols, bits, prompt_ok, side_ok, classical, signal."""
    from gencomm_cli.metrics.signal import evm_percent, received_snr_db

    sent, received, header = trip.sent, trip.received, trip.received.header
    assert header.channel is not None
    assert header.n0 is not None
    gain = channel_state(received, cell.option("estimator") or "lmmse").gain  # type: ignore[arg-type]
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
    """The header's field, with the codec's version and whether the rate that was asked for was met."""
    assert header.classical is not None
    used = header.cbr.total if cell.cbr_is_total else header.cbr.image + header.cbr.side
    return asdict(header.classical) | {
        "container_bytes": header.provenance.container_bytes,
        "tool": header.provenance.versions.get(header.classical.codec),
        "budget_met": used <= cell.cbr * (1 + 1e-9),
    }
