"""``gencomm ui``: a window to play with."""

from __future__ import annotations

from typing import Annotated

import typer

from gencomm_cli.commands import flags


def ui(
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="Port on 127.0.0.1; a free one from 7860 on if not given.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
    device: flags.Device = "auto",
) -> None:
    """Open a window with sliders, and see how a picture arrives.

    \b
    gencomm ui                                     opens the browser; Ctrl-C ends it
    gencomm ui --port 8000 --no-browser            for a browser at the other end of `ssh -L 8000:127.0.0.1:8000`

    It listens on 127.0.0.1 alone and asks nothing of the network. Uploaded photographs are removed when it ends.
    """
    from importlib.util import find_spec

    from gencomm_cli import console, pipeline
    from gencomm_cli.errors import InputError

    if find_spec("gradio") is None:
        raise InputError("ui: Gradio is not installed; run `pip install 'gencomm[ui]'`")
    pipeline.pick_device(device)
    from gencomm_cli.ui.desk import Desk
    from gencomm_cli.ui.window import serve

    serve(Desk(device), port, not no_browser, console.out)
