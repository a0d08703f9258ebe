"""``gencomm explain``: pages of the manual in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

Topic = Literal["cbr", "snr", "csi", "formats"]


def explain(
    topic: Annotated[Topic, typer.Argument(metavar="TOPIC", help=f"One of {', '.join(get_args(Topic))}.")],
) -> None:
    """Print the manual's page on a word that the commands use.

    \b
    gencomm explain cbr
    """
    import re
    import sys

    from gencomm_cli import console

    text = re.sub(r"!\[.*\n\n\*.*\*\n\n", "", page(topic).read_text("utf-8")).rstrip()  # a terminal shows no figures
    if not sys.stdout.isatty():
        console.out(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text, hyperlinks=False))


def page(topic: str) -> Path:
    """A page of the manual's concepts: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "concepts"
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "docs" / "concepts"
    return folder / f"{topic}.md"
