"""Captioners: what the transmitter says about an image when the user has given no prompt."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError, one_line

MAX_BYTES = 4096
"""Of UTF-8 in a caption: the longest prompt that is sent."""

INSTRUCTION = (
    "Describe this photograph in one plain phrase of about 14 words: the subject, its colours, the background. Only the phrase."
)
MAX_TOKENS = 48
TIMEOUT = 60.0
"""Seconds that an endpoint has for its whole answer."""
MAX_ANSWER = 2**20
"""Bytes of an endpoint's answer."""
LONGEST_SIDE = 1024
"""Pixels of the picture that an endpoint is shown."""


def caption(image: NDArray[np.uint8], captioner: str, device: str) -> str:
    """A caption of ``image`` uint8 [H, W, 3]: NFC, single spaces, at most 4 KiB of UTF-8.

    Args:
        captioner: ``none`` (the empty caption), ``builtin``, ``hf:FOLDER_OR_ID`` or ``openai:MODEL``.
        device: where a model runs: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: no such captioner, its model cannot be used, or its endpoint does not answer as it should.
    """
    kind, name = _parts(captioner)
    if kind == "none":
        return ""
    if kind == "builtin":
        from gencomm_cli.presets import models_root
        from gencomm_cli.text.retrieval import load

        return tidy(load(models_root() / "shared" / "captioner").caption(image))
    return tidy(_transformers(image, name, device) if kind == "hf" else _openai(image, name))


def settled(captioner: str) -> str:
    """``captioner`` as a preset or a long run may keep it: of a known form, and a folder by its full path.

    Raises:
        InputError: no such captioner, or neither a folder nor a hub id.
    """
    kind, name = _parts(captioner)
    if kind != "hf":
        return captioner
    if Path(name).is_dir():
        return f"hf:{Path(name).resolve()}"
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise InputError(f"--captioner {captioner}: there is no folder {name}, and it is no hub id (OWNER/NAME) either")
    return captioner


def _parts(captioner: str) -> tuple[str, str]:
    """Kind, and name of the model."""
    kind, _, name = captioner.partition(":")
    if captioner in ("none", "builtin") or (kind in ("hf", "openai") and name):
        return kind, name
    raise InputError(f"--captioner: {captioner!r} is not one; use none, builtin, hf:FOLDER_OR_ID or openai:MODEL")


def tidy(text: str) -> str:
    """``text`` with Unicode composed (NFC), white space collapsed, unpaired surrogates dropped and cut at a word to 4 KiB."""
    text = " ".join(unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode()).split())
    if len(text.encode()) <= MAX_BYTES:
        return text
    cut = text.encode()[: MAX_BYTES + 1].decode("utf-8", "ignore")
    return cut.rpartition(" ")[0] or text.encode()[:MAX_BYTES].decode("utf-8", "ignore")


def _transformers(image: NDArray[np.uint8], name: str, device: str) -> str:
    """Any image-to-text model in transformers' layout. One with a chat template is asked; others caption without a question."""
    import torch
    import transformers
    from PIL import Image

    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    picture = Image.fromarray(image)
    try:
        model, processor = _model(name, place)
        asked = 0
        if getattr(processor, "chat_template", None):
            question = [{"type": "image", "image": picture}, {"type": "text", "text": INSTRUCTION}]
            inputs = processor.apply_chat_template(
                [{"role": "user", "content": question}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            asked = inputs["input_ids"].shape[1]
            tokenizer = processor.tokenizer
        else:
            inputs = transformers.AutoImageProcessor.from_pretrained(name, backend="pil")(images=picture, return_tensors="pt")
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        with torch.inference_mode():
            tokens = model.generate(**inputs.to(place, model.dtype), max_new_tokens=MAX_TOKENS, do_sample=False)
        return str(tokenizer.decode(tokens[0, asked:], skip_special_tokens=True))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        # What a folder of someone else's may lack is found out by transformers in many ways.
        raise InputError(f"--captioner hf:{name}: not usable as an image-to-text model ({one_line(error)})") from None


@lru_cache(maxsize=1)
def _model(name: str, place: str) -> tuple[Any, Any]:
    """The model and its processor, kept for the next image; in half precision on CUDA."""
    import torch
    import transformers

    half = place.startswith("cuda")
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(name, dtype=torch.float16 if half else torch.float32)
    return model.to(place).eval(), transformers.AutoProcessor.from_pretrained(name, backend="pil")


def forget_model() -> None:
    """Frees the memory of the model that captioned last."""
    _model.cache_clear()


def _openai(image: NDArray[np.uint8], model: str) -> str:
    """An endpoint with OpenAI's chat completions: ``OPENAI_BASE_URL``, and ``OPENAI_API_KEY`` if it wants one."""
    base = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    if not base.startswith(("http://", "https://")):
        raise InputError("OPENAI_BASE_URL: is not an http or https address; it should look like https://host/v1")
    content = [{"type": "text", "text": INSTRUCTION}, {"type": "image_url", "image_url": {"url": _data_url(image)}}]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS, "temperature": 0}
    answer = _post(f"{base.rstrip('/')}/chat/completions", body, os.environ.get("OPENAI_API_KEY"))
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise InputError(
            f"--captioner openai:{model}: the endpoint's answer has no choices[0].message.content; is it OpenAI-compatible?"
        )
    return text


def _data_url(image: NDArray[np.uint8]) -> str:
    """The image as a JPEG in a data URL, its longer side at most 1024 pixels."""
    import base64
    import io

    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _post(url: str, body: dict[str, Any], key: str | None) -> bytes:
    """The answer to a JSON request. A redirect is an error, so that the key goes nowhere else.

    Raises:
        InputError: no answer, an error status, more than 1 MiB, or more than a minute.
    """
    import http.client
    import urllib.error
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    if key and not (key.isascii() and key.isprintable()):
        raise InputError("OPENAI_API_KEY: holds characters that no key has; is there a line break in it?")
    deadline = time.monotonic() + TIMEOUT
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.build_opener(NoRedirect).open(request, timeout=TIMEOUT) as response:
            answer = b""
            while part := response.read1(2**16):
                answer += part
                if len(answer) > MAX_ANSWER:
                    raise InputError(f"{url}: the answer is longer than 1 MiB; is OPENAI_BASE_URL right?")
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")
    except urllib.error.HTTPError as error:
        detail = one_line(error.read(4096).decode("utf-8", "replace"))
        raise InputError(
            f"{url}: answers {error.code} ({detail}); check OPENAI_BASE_URL, OPENAI_API_KEY and the model's name"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{url}: does not answer ({one_line(getattr(error, 'reason', error))}); check OPENAI_BASE_URL") from None
    return answer
