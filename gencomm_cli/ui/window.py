"""The window: Gradio's components and what moves what. Importing it imports Gradio."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}  # read while Gradio is imported

import gradio as gr

from gencomm_cli.bench.quantities import CHANNELS
from gencomm_cli.channels.fading import Kind
from gencomm_cli.errors import GencommError, InputError
from gencomm_cli.images import MAX_FILE, Pixels
from gencomm_cli.ui import drawing
from gencomm_cli.ui.desk import Desk, Link, Source, Superseded, View, examples, models

PAIRS = {
    f"{left}, {right}": (left, right) for left, right in (("original", "refined"), ("original", "coarse"), ("coarse", "refined"))
}
HOST = "127.0.0.1"
SIDES = [256, 384, 512, 768]
"""Pixels that the longest side is scaled down to."""
Shown = dict[str, Pixels]


def build(desk: Desk) -> gr.Blocks:
    """The page, which sends with ``desk``.

    Raises:
        InputError: there is no preset. ModelMismatch: the first one is damaged.
    """
    named, pictures = models(), examples()
    if not named:
        raise InputError("ui: there is no preset to send with; see `gencomm models list`")
    first = desk.abilities(named[0])
    with gr.Blocks(title="gencomm", analytics_enabled=False) as page:
        shown = gr.State({})
        gr.Markdown("# gencomm\nA photograph is sent over a noisy channel. Move a slider, and it is sent again.")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    str(pictures[-1]) if pictures else None, type="filepath", image_mode=None, sources=["upload", "clipboard"],
                    label="Photograph", height=220,
                )  # fmt: skip
                picture.preprocess = _path
                if pictures:
                    gr.Examples([[str(path)] for path in pictures], picture, label="Examples")
                model = gr.Dropdown(named, value=named[0], label="Method and preset", filterable=False)
                snr = gr.Slider(-5, 20, 5, step=0.5, label="SNR (dB)")
                cbr = gr.Slider(**_rates(first.cbr), label="CBR of the image", info=first.rates)
                steps = gr.Slider(0, 50, 0, step=1, label="Steps", info="0: the preset's own", visible=first.samples)
                fading = gr.Radio([(CHANNELS[kind], kind) for kind in get_args(Kind)], value="awgn", label="Channel")
                prompt = gr.Textbox(label="Prompt", placeholder="Text to send beside the image; Enter sends", visible=first.prompt)
                with gr.Accordion("More", open=False):
                    known = gr.Checkbox(True, label="The transmitter knows SNR and fading")
                    side = gr.Radio(SIDES, value=512, label="Longest side (pixels)")
                    seed = gr.Number(0, label="Seed of the noise", precision=0, minimum=0)
            with gr.Column(scale=4, min_width=320, elem_id="results"):
                with gr.Row(elem_classes="first"):
                    pair = gr.Radio([*PAIRS], value=next(iter(PAIRS)), label="Compare", show_label=False, container=False, scale=3)
                    status = gr.HTML(elem_id="status", min_height=44)
                slider = gr.ImageSlider(
                    label="Drag the divider", format="png", interactive=False, buttons=["download", "fullscreen"], max_height=620,
                    elem_id="compared", elem_classes="first",
                )  # fmt: skip
                with gr.Row(elem_classes="last"):
                    with gr.Column(min_width=300):
                        figures = gr.HTML(min_height=80, elem_id="figures")
                    with gr.Column(min_width=300):
                        symbols = gr.HTML(elem_id="symbols")

        def send(
            path: str | None, side: int, model: str, cbr: float, prompt: str | None, snr: float, fading: Kind, known: bool,
            seed: int | None, steps: int, wanted: str, request: gr.Request, progress: Any = gr.Progress(),  # noqa: B008
        ) -> Iterator[dict[Any, Any]]:  # fmt: skip
            if path is None:
                yield {figures: "", symbols: "", status: "", slider: None, shown: {}}
                return
            source, link = Source(path, side, model, cbr, prompt or ""), Link(snr, fading, known, seed or 0, steps)
            start = time.monotonic()

            def step(done: int, total: int, note: str = "", /) -> None:
                progress((done, total))

            try:
                for view in desk.send(source, link, request.session_hash or "", step):
                    images = _images(view)
                    yield {
                        shown: images, slider: _compared(images, wanted), figures: drawing.figures(view),
                        symbols: drawing.constellation(view.sent, view.received),
                        status: f"done in {time.monotonic() - start:.1f} s" if view.last else "",
                    }  # fmt: skip
            except Superseded:
                yield {status: gr.skip()}  # the next send says what there is to see
            except GencommError as error:
                yield {figures: drawing.failure(error.flagged.replace(path, Path(path).name)), status: ""}

        def fit(chosen: str, request: gr.Request) -> dict[Any, Any]:
            try:
                able = desk.abilities(chosen, request.session_hash or "")
            except GencommError as error:
                return {figures: drawing.failure(str(error))}
            return {
                cbr: gr.Slider(**_rates(able.cbr), info=able.rates), steps: gr.Slider(visible=able.samples),
                prompt: gr.Textbox(visible=able.prompt),
            }  # fmt: skip

        inputs = [picture, side, model, cbr, prompt, snr, fading, known, seed, steps, pair]
        sending: dict[str, Any] = {
            "fn": send, "inputs": inputs, "outputs": [shown, slider, status, figures, symbols], "concurrency_limit": None,
            "trigger_mode": "multiple", "show_progress": "minimal", "show_progress_on": status, "api_visibility": "private",
        }  # fmt: skip
        moves = [each.input for each in (side, cbr, snr, fading, known, seed, steps)]
        gr.on([page.load, picture.change, prompt.submit, *moves], **sending)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        model.input(fit, model, [cbr, steps, prompt, figures], concurrency_limit=None, **quiet).then(**sending)
        pair.input(_compared, [shown, pair], slider, **quiet)

        @page.unload
        def leave(request: gr.Request) -> None:
            desk.forget(request.session_hash or "")

    return page


def serve(desk: Desk, port: int | None, browser: bool, ready: Callable[[str], None]) -> None:
    """Shows the window on the loopback interface until the process is interrupted; what was uploaded is removed then.

    Args:
        port: a free one from 7860 on if None. browser: whether to open one. ready: takes the address.

    Raises:
        InputError: the port is taken, or there is no preset.
    """
    if port is not None:
        try:
            socket.create_server((HOST, port)).close()
        except OSError as error:
            raise InputError(f"--port: {port} cannot be had ({error.strerror}); name another, or leave it out") from None
    with tempfile.TemporaryDirectory(prefix="gencomm-ui-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build(desk)
        _, address, _ = page.queue().launch(
            server_name=HOST, server_port=port, inbrowser=browser, share=False, quiet=True, footer_links=[], max_file_size=MAX_FILE,
            ssr_mode=False, pwa=False, enable_monitoring=False, prevent_thread_lock=True, css=drawing.STYLE,
            theme=gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        )  # fmt: skip
        for name in ("asyncio", "uvicorn.error"):  # a page that is closed in the middle of a request is no news
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ready(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            page.close(verbose=False)


def _rates(usual: float) -> dict[str, float]:
    """A slider from a quarter of a method's usual CBR to four times it."""
    ends = {"minimum": usual / 4, "maximum": 4 * usual, "value": usual, "step": usual / 20}
    return {name: float(f"{value:.3g}") for name, value in ends.items()}


def _path(uploaded: Any) -> str | None:
    """The picture's file as it was uploaded: it is opened by the reader of `encode` alone, which says what is wrong with it."""
    return None if uploaded is None else uploaded.path


def _images(view: View) -> Shown:
    return {"original": view.original, "coarse": view.coarse, "refined": view.coarse if view.refined is None else view.refined}


def _compared(images: Shown, wanted: str) -> tuple[Pixels, Pixels] | None:
    left, right = PAIRS[wanted]
    return (images[left], images[right]) if images else None
