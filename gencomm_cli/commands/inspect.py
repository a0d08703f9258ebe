"""``gencomm inspect``: what a symbol file holds. Imports neither torch nor Pillow, but for ``--rates``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gencomm_cli.commands import flags

if TYPE_CHECKING:
    from gencomm_cli.symbols import SymbolFile


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Symbol file; - is standard input.")],
    picture: Annotated[
        str | None, typer.Argument(metavar="[OUT.png]", help="With --rates: where to draw; FILE.rates.png if not given.")
    ] = None,
    rates: Annotated[
        bool,
        typer.Option(
            "--rates", help="Codes with a rate for each part: draw how many symbols each block took, over the coarse image."
        ),
    ] = False,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="With --rates: weights; those that the file names if not given.")
    ] = None,
    device: flags.Device = "auto",
    json: flags.Json = False,
) -> None:
    """Print header, sizes, power and CBR of a symbol file.

    \b
    gencomm inspect photo.tx.npz
    gencomm inspect photo.tx.npz --rates map.png
    """
    from gencomm_cli import console, symbols
    from gencomm_cli.errors import InputError
    from gencomm_cli.images import check_format

    if (picture or preset) and not rates:
        raise InputError("inspect: a picture and --preset go with --rates; add it")
    target = flags.output(picture, file, flags.beside(file, ".rates.png")) if rates else None
    found = flags.read_symbols(file)
    if target is not None:
        check_format(Path(target), (*found.header.image_size, 3))
    meta = found.header.to_json()
    arrays = {
        name: {"size": array.size, "mean_power": symbols.mean_power(array) if array.size else None}
        for name, array in found.arrays().items()
    }
    if found.ideal_bits is not None:
        arrays["ideal_bits"] = {"size": found.ideal_bits.size, "mean_power": None}
    drawn = {} if target is None else {"rates": _draw(found, target, picture, preset, device)}
    ratio = found.compression_ratio
    if json:
        printed = {"output": file, "meta": meta, "arrays": arrays, "compression_ratio": ratio, **drawn}
        console.print_json(printed, stdout_is_taken=target == "-")
        return
    if target == "-":
        return
    for name, value in {**meta, **drawn}.items():
        console.out(f"{name:18}{_line(value)}")
    if ratio is not None:
        console.out(f"{'compression ratio':18}{ratio:.0f}")
    for name, array in arrays.items():
        power = "" if array["mean_power"] is None else f", mean power {array['mean_power']:.4f}"
        console.out(f"{name:18}{array['size']} values{power}")


def _draw(file: SymbolFile, target: str, given: str | None, preset: str | None, device: str) -> dict[str, Any]:
    """Draws the heat map of the rates and says what is in it: symbols a block."""
    from gencomm_cli import console, images, pipeline

    header = file.header
    codec = pipeline.load(header.method, preset or header.preset, device=device, weights_sha256=header.weights_sha256)
    found = codec.rates_of(file)
    received = pipeline.transmit(file, snr=float("inf")) if header.stage == "tx" else file
    reception = codec.decode(received, say=console.say, coarse=True)
    picture = images.encoded(images.heat_map(found, reception.coarse), images.suffix_of(target))
    flags.write(target, picture, given)
    return {
        "picture": target, "blocks": list(found.shape), "smallest": int(found.min()), "mean": float(found.mean()),
        "largest": int(found.max()),
    }  # fmt: skip


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_line(entry)}" for name, entry in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
