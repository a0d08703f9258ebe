"""``gencomm inspect``: what a symbol file holds. Imports neither torch nor Pillow."""

from __future__ import annotations

from typing import Annotated

import typer

from gencomm_cli.commands import flags


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Symbol file; - is standard input.")],
    json: flags.Json = False,
) -> None:
    """Print header, sizes, power and CBR of a symbol file."""
    from gencomm_cli import console, symbols

    found = symbols.read(flags.source(file))
    meta = found.header.to_json()
    arrays = {
        name: {"size": array.size, "mean_power": symbols.mean_power(array) if array.size else None}
        for name, array in found.arrays().items()
    }
    if found.ideal_bits is not None:
        arrays["ideal_bits"] = {"size": found.ideal_bits.size, "mean_power": None}
    ratio = found.compression_ratio
    if json:
        console.print_json({"output": file, "meta": meta, "arrays": arrays, "compression_ratio": ratio})
        return
    for name, value in meta.items():
        console.out(f"{name:18}{_line(value)}")
    if ratio is not None:
        console.out(f"{'compression ratio':18}{ratio:.0f}")
    for name, array in arrays.items():
        power = "" if array["mean_power"] is None else f", mean power {array['mean_power']:.4f}"
        console.out(f"{name:18}{array['size']} values{power}")


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_line(entry)}" for name, entry in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
