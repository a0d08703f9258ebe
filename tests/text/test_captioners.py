"""Captioners: a tiny real transformers model, a real HTTP server with good and hostile answers, and retrieval on made-up images."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import unicodedata
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captioner_tables import build, evaluate, save
from PIL import Image

from gencomm_cli.errors import InputError
from gencomm_cli.text import captioners
from gencomm_cli.text.captioners import MAX_BYTES, caption, settled, tidy
from gencomm_cli.text.retrieval import Retriever, features, load
from gencomm_cli.training.data import is_validation

PHOTO = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


def _refused(captioner: str, image: np.ndarray = PHOTO) -> str:
    """The one line with which ``captioner`` is refused."""
    with pytest.raises(InputError) as caught:
        caption(image, captioner, "cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_none_says_nothing() -> None:
    assert caption(PHOTO, "none", "cpu") == ""


@pytest.mark.parametrize("name", ["", "hf", "hf:", "openai:", "blip", "builtin:x", "none "])
def test_other_names_are_refused(name: str) -> None:
    assert "hf:FOLDER_OR_ID" in _refused(name)


def test_what_a_preset_may_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blip").mkdir()
    for name in ("none", "builtin", "openai:gpt", "hf:OWNER/blip2-opt-2.7b"):
        assert settled(name) == name
    assert settled("hf:blip") == f"hf:{tmp_path}/blip"  # which another folder would not find
    for name, words in (
        ("bogus", "hf:FOLDER_OR_ID"),
        ("hf:/nowhere", "no folder /nowhere"),
        ("hf:./a", "no folder"),
        ("hf:lost", "OWNER/NAME"),
        ("hf:a/b/c", "id"),
    ):
        with pytest.raises(InputError, match=words):
            settled(name)


def test_tidy_composes_collapses_and_drops_what_is_not_unicode() -> None:
    assert tidy("  a\tcafe\u0301\n\nby  the\u00a0sea\ud800 ") == "a caf\u00e9 by the sea"


@pytest.mark.parametrize("word", ["x", "réel", "𝒜𝒷", "e" * 100, "éa" * 70])
def test_tidy_cuts_at_a_word_and_keeps_all_that_fits(word: str) -> None:
    text = " ".join([word] * MAX_BYTES)
    cut = tidy(text)
    assert set(cut.split(" ")) == {word}
    assert MAX_BYTES - len(word.encode()) - 1 < len(cut.encode()) <= MAX_BYTES


def test_tidy_cuts_within_a_word_that_is_too_long() -> None:
    cut = tidy("é€" * MAX_BYTES)
    assert MAX_BYTES - 3 < len(cut.encode()) <= MAX_BYTES
    assert unicodedata.is_normalized("NFC", cut)


# The built-in captioner


SCENES = {"red square": (220, 30, 30), "green field": (30, 200, 40), "blue water": (20, 60, 220), "white snow": (245, 245, 250)}


def _scene(colour: tuple[int, int, int], rng: np.random.Generator, height: int = 60, width: int = 90) -> np.ndarray:
    noise = rng.normal(0, 12, (height, width, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(1)
    lines = []
    for index in range(96):
        text, colour = list(SCENES.items())[index % 4]
        name = f"scene_{index:03}.png"
        Image.fromarray(_scene(colour, rng)).save(folder / name)
        lines.append(f"{name}\ta {text} number {'abcdefgh'[index % 8]}")
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def retriever(data: Path) -> Retriever:
    return build(data, rank=6)


def test_retrieval_learns_what_colours_mean(retriever: Retriever, data: Path, tmp_path: Path) -> None:
    figures = evaluate(retriever, data)
    assert figures["recall_found"] > 0.7 > figures["recall_random"]
    assert figures["cosine_found"] > 0.6 > figures["cosine_random"]
    assert len(retriever.captions) == sum(not is_validation(path.name) for path in data.glob("*.png"))
    save(retriever, tmp_path)
    loaded = load(tmp_path)
    rng = np.random.default_rng(2)
    for text, colour in SCENES.items():
        assert text in loaded.caption(_scene(colour, rng))


def test_building_again_gives_the_same_tables(retriever: Retriever, data: Path) -> None:
    again = build(data, rank=6)
    assert again.captions == retriever.captions
    assert np.array_equal(again.mapping, retriever.mapping)


def test_features_are_finite_at_any_size_and_mirror_symmetric_in_colour() -> None:
    for size in [(1, 1), (1, 300), (37, 53), (700, 500)]:
        found = features(np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8))
        assert np.isfinite(found).all()
        assert found.shape == features(PHOTO).shape
    flat = features(np.full((64, 64, 3), 128, np.uint8))
    assert np.abs(flat[-100:]).max() == 0  # no gradients in a flat image


@pytest.mark.parametrize("damage", ["nothing there", "cut off", "too few words", "a table left out"])
def test_damaged_tables_are_one_line(damage: str, retriever: Retriever, tmp_path: Path) -> None:
    save(retriever, tmp_path)
    if damage == "nothing there":
        (tmp_path / "captions.txt").unlink()
    elif damage == "cut off":
        path = tmp_path / "tables.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "too few words":
        (tmp_path / "vocabulary.txt").write_text("red\n")
    else:
        from safetensors.numpy import save_file

        save_file({"centre": np.zeros(4, np.float16)}, tmp_path / "tables.safetensors")
    with pytest.raises(InputError, match="install gencomm again") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


# transformers


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "boat", "on", "calm", "water"]


def _save_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizer

    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def _save_encoder_decoder(folder: Path) -> None:
    import torch
    from transformers import BertConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(image_size=32, patch_size=16, **sizes),
        BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, is_decoder=True, add_cross_attention=True, **sizes),
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    torch.manual_seed(0)
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config.decoder_start_token_id = 2
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = 3
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _save_blip(folder: Path) -> None:
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipTextConfig, BlipVisionConfig
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ids: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = BlipTextConfig(
        vocab_size=len(WORDS), encoder_hidden_size=16, projection_dim=8, max_position_embeddings=64, **ids, **sizes
    )
    vision = BlipVisionConfig(image_size=32, patch_size=16, projection_dim=8, **sizes)
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8))
    model.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _save_blip2(folder: Path) -> None:
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2QFormerConfig, Blip2VisionConfig, OPTConfig
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = OPTConfig(
        vocab_size=len(WORDS) + 1, ffn_dim=16, max_position_embeddings=96, word_embed_proj_dim=16, bos_token_id=2, eos_token_id=3,
        pad_token_id=0, **sizes,
    )  # fmt: skip
    vision = Blip2VisionConfig(image_size=32, patch_size=16, intermediate_size=16, **sizes)
    former = Blip2QFormerConfig(vocab_size=len(WORDS), encoder_hidden_size=16, intermediate_size=16, **sizes)
    torch.manual_seed(0)
    config = Blip2Config(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        qformer_config=former.to_dict(),
        num_query_tokens=4,
        image_token_index=len(WORDS),
    )
    model = Blip2ForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data.normal_()  # as they come, they say nothing but padding
    model.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _save_git(folder: Path) -> None:
    import torch
    from transformers import GitConfig, GitForCausalLM
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = GitConfig(
        vision_config={"image_size": 32, "patch_size": 16, **sizes}, vocab_size=len(WORDS), max_position_embeddings=96,
        bos_token_id=2, eos_token_id=3, pad_token_id=0, **sizes,
    )  # fmt: skip
    GitForCausalLM(config).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.mark.parametrize("save_model", [_save_encoder_decoder, _save_blip, _save_blip2, _save_git])
def test_a_real_model_from_a_folder(save_model: Any, tmp_path: Path) -> None:
    _save_tokenizer(tmp_path)
    save_model(tmp_path)
    found = caption(PHOTO, f"hf:{tmp_path}", "cpu")
    assert found
    assert set(found.split()) <= set(WORDS)
    assert found == caption(PHOTO, f"hf:{tmp_path}", "cpu")
    captioners.forget_model()


def test_a_model_is_loaded_once_for_many_pictures(tmp_path: Path) -> None:
    _save_tokenizer(tmp_path)
    _save_blip(tmp_path)
    found = [caption(PHOTO, f"hf:{tmp_path}", "cpu") for _ in range(3)]
    assert found[0] == found[2]
    assert (captioners._model.cache_info().misses, captioners._model.cache_info().hits) == (1, 2)
    captioners.forget_model()
    assert captioners._model.cache_info().currsize == 0


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    assert "not usable as an image-to-text model" in _refused(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "not usable as an image-to-text model" in _refused(f"hf:{tmp_path}")


# An OpenAI-compatible endpoint


class _Endpoint:
    """A server on this machine that keeps what it is asked and answers what it is told to."""

    def __init__(self) -> None:
        self.status, self.answer, self.headers = 200, b"", {"Content-Type": "application/json"}
        self.pause = 0.0
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(endpoint.status)
                for name, value in endpoint.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for start in range(0, len(endpoint.answer), 2**16):
                        self.wfile.write(endpoint.answer[start : start + 2**16])
                        time.sleep(endpoint.pause)
                except OSError:
                    pass  # the client has hung up, as it should

            def do_GET(self) -> None:
                endpoint.asked.append((self.path, dict(self.headers), None))
                self.send_error(500)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def says(self, text: object) -> None:
        self.answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Endpoint]:
    found = _Endpoint()
    monkeypatch.setenv("OPENAI_BASE_URL", found.url)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_endpoint_is_shown_the_image_and_its_words_are_tidied(endpoint: _Endpoint) -> None:
    endpoint.says(" A red\n boat cafe\u0301 ")
    image = np.zeros((3000, 1500, 3), np.uint8)
    image[:, :, 0] = 200
    assert caption(image, "openai:some/model:7b", "cpu") == "A red boat caf\u00e9"
    ((path, headers, body),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret-key"
    assert body["model"] == "some/model:7b"
    text, picture = body["messages"][0]["content"]
    assert text["type"] == "text"
    prefix, data = picture["image_url"]["url"].split(",")
    assert prefix == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.size == (512, 1024)
        assert np.abs(np.asarray(shown, int).mean((0, 1)) - [200, 0, 0]).max() < 4


def test_no_key_sends_no_authorisation(endpoint: _Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    endpoint.says("a boat")
    assert caption(PHOTO, "openai:m", "cpu") == "a boat"
    assert "Authorization" not in endpoint.asked[0][1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>hello</html>",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"choices": []}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": null}}]}',
        b"[" * 200_000,
    ],
)
def test_answers_of_another_shape_are_refused(answer: bytes, endpoint: _Endpoint) -> None:
    endpoint.answer = answer
    assert "choices[0].message.content" in _refused("openai:m")


def test_an_endless_answer_is_cut_off(endpoint: _Endpoint) -> None:
    endpoint.answer = b" " * (3 * captioners.MAX_ANSWER)
    assert "longer than 1 MiB" in _refused("openai:m")


def test_a_long_caption_is_cut_and_an_unpaired_surrogate_dropped(endpoint: _Endpoint) -> None:
    endpoint.says("\ud800 boat" * 2000)
    found = caption(PHOTO, "openai:m", "cpu")
    assert set(found.split(" ")) == {"boat"}
    assert len(found.encode()) <= MAX_BYTES


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_an_error_status_is_one_line_without_the_key(status: int, endpoint: _Endpoint) -> None:
    endpoint.status = status
    line = _refused("openai:m")
    assert f"answers {status}" in line
    assert "secret-key" not in line


def test_a_redirect_is_not_followed(endpoint: _Endpoint) -> None:
    endpoint.status = 302
    endpoint.headers = {"Location": f"{endpoint.url}/elsewhere"}
    assert "answers 302" in _refused("openai:m")
    assert len(endpoint.asked) == 1


def test_a_trickling_answer_runs_out_of_time(endpoint: _Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioners, "TIMEOUT", 0.3)
    endpoint.answer, endpoint.pause = b" " * (10 * 2**16), 0.1
    assert "timed out" in _refused("openai:m")


def test_nobody_there_is_one_line(endpoint: _Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert "does not answer" in _refused("openai:m")


@pytest.mark.parametrize("base", ["file:///etc", "ftp://host/v1", "host/v1"])
def test_only_http_addresses_are_used(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", base)
    assert "OPENAI_BASE_URL" in _refused("openai:m")


def test_a_key_with_a_line_break_is_not_shown(endpoint: _Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key\r\nX: y")
    assert "secret" not in _refused("openai:m")
    assert not endpoint.asked
