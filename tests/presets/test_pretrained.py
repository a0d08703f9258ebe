"""`gencomm models add`: presets over stand-ins for Stable Diffusion, in a folder and on a hub of our own."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.options import StableDiffusionSources
from gencomm_cli.methods.textguided.options import Receiver, Transmitter
from gencomm_cli.presets.files import verify_pretrained
from gencomm_cli.presets.pretrained import add
from tests.support.commands import Result, failed
from tests.support.pretrained import quiet

Gencomm = Callable[..., Result]
CPU = torch.device("cpu")


@pytest.mark.parametrize("method", ["textguided", "diffjscc"])
def test_a_preset_over_stable_diffusion_sends_pictures(here: Gencomm, photo: Path, weights: Path, method: str) -> None:
    own = weights / method
    made = here("models", "add", method, "--name", "sd", "--sd", weights / "sd", "--control", own, "--jscc", own)
    assert made.returncode == 0, made.stderr.decode()
    folder = Path(made.stdout.decode().strip())
    assert folder == presets.user_root() / method / "sd"
    document = json.loads((folder / "config.json").read_text())
    unet = document["components"]["unet"]
    weights_file = "unet/diffusion_pytorch_model.safetensors"
    assert unet["pretrained"] == str(weights / "sd")
    assert set(unet["files"]) == {"unet/config.json", weights_file}
    assert unet["files"][weights_file] == hashlib.sha256((weights / "sd" / weights_file).read_bytes()).hexdigest()
    assert f"{method}/sd" in here("models", "list").stdout.decode()
    assert b"intact" in here("models", "verify", f"{method}/sd").stdout
    trip = here("roundtrip", "photo.png", "--method", method, "--preset", "sd", "--snr", 10, "--steps", 2, "--json")
    assert trip.returncode == 0, trip.stderr.decode()
    assert json.loads(trip.stdout)["metrics"]["psnr"] > 0
    assert here("encode", "photo.png", "--method", method, "--preset", "sd").returncode == 0
    assert here("channel", "photo.tx.npz", "--snr", 5).returncode == 0
    assert here("decode", "photo.rx.npz", "--steps", 2).returncode == 0  # the file names its preset
    weights_path = weights / "sd" / weights_file
    save_file({name: tensor + 1e-3 for name, tensor in load_file(weights_path).items()}, weights_path)
    failed(here("decode", "photo.rx.npz", "--steps", 2), 4, weights_file, "SHA-256 differs")
    assert here("decode", "photo.rx.npz", "--coarse").returncode == 0  # the denoiser is not even loaded
    failed(here("models", "verify", f"{method}/sd"), 4, "SHA-256 differs")


def test_the_preset_computes_what_its_parts_do(weights: Path) -> None:
    """A preset whose networks are in its own folder, with the same numbers, sends and refines alike to the last bit."""
    own = weights / "textguided"
    parts = StableDiffusionSources(sd=str(weights / "sd"), control=str(own), jscc=str(own))
    over = load_method(presets.load_config(add("textguided", "sd", parts, None, quiet)), CPU)
    document = json.loads((own / "config.json").read_text())
    for name, kind in (("vae", "AutoencoderKL"), ("unet", "UNet2DConditionModel"), ("text_encoder", "CLIPTextModel")):
        document["components"][name] = {"class": kind, "pretrained": str(weights / "sd"), "subfolder": name}
    document["components"]["tokenizer"] = {"class": "CLIPTokenizer", "pretrained": str(weights / "sd"), "subfolder": "tokenizer"}
    (own / "config.json").write_text(json.dumps(document))
    by_hand = load_method(presets.load_config(own), CPU)
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    sent, also = (
        method.encode(image, Request(over.symbol_budget(0.01, (40, 48)), options=Transmitter())).symbols
        for method in (over, by_hand)
    )
    assert np.array_equal(sent, also)
    received = Received(sent, None, 0.1, (40, 48), "abc")
    one, other = (method.decode(received, Receiver(), seed=0).refined[0] for method in (over, by_hand))
    assert np.array_equal(one, other)


def test_without_control_and_jscc_it_is_a_preset_to_train(here: Gencomm, photo: Path, weights: Path) -> None:
    made = here("models", "add", "textguided", "--name", "bare", "--sd", weights / "sd")
    assert made.returncode == 0
    assert "gencomm train textguided --start bare" in made.stderr.decode()
    failed(here("encode", "photo.png", "--preset", "bare"), 2, "lacks control, jscc", "gencomm train textguided --start bare")


def test_half_precision_weights_are_a_variant(weights: Path) -> None:
    for name, stem in (("vae", "diffusion_pytorch_model"), ("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        path = weights / "sd" / name / f"{stem}.safetensors"
        save_file({key: value.half() for key, value in load_file(path).items()}, path.with_name(f"{stem}.fp16.safetensors"))
    own = str(weights / "textguided")
    parts = StableDiffusionSources(sd=str(weights / "sd"), control=own, jscc=own)
    plain, half = (
        add("textguided", name, replace(parts, variant=variant), None, quiet) for name, variant in (("a", None), ("b", "fp16"))
    )
    (weights / "sd" / "unet" / "diffusion_pytorch_model.safetensors").unlink()  # the only one that is left is taken unasked
    unasked = add("textguided", "c", parts, None, quiet)
    found = [presets.load_config(folder).components["unet"] for folder in (plain, half, unasked)]
    assert [component.variant for component in found] == [None, "fp16", "fp16"]
    assert found[0].sha256 != found[1].sha256 == found[2].sha256
    with pytest.raises(InputError, match=r"vae has no weights of variant bf16 \(\.safetensors\)"):
        add("textguided", "d", replace(parts, variant="bf16"), None, quiet)
    method = load_method(presets.load_config(half), CPU)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    received = Received(method.encode(image, Request(20, options=Transmitter())).symbols, None, 0.1, (32, 32))
    assert method.decode(received, Receiver(), seed=0).refined[0].shape == (32, 32, 3)


def test_names_and_flags(here: Gencomm, photo: Path, weights: Path) -> None:
    sd = weights / "sd"
    failed(
        here("roundtrip", "photo.png", "--method", "separate", "--snr", 5, "--compile"), 2, "--compile: separate does not read it"
    )
    half = here("roundtrip", "photo.png", "--snr", 5, "--device", "cpu", "--precision", "fp16")
    assert half.returncode == 2
    assert b"error: --precision fp16: is for CUDA devices; use fp32 or bf16" in half.stderr
    failed(here("models", "add", "textguided", "--name", "../x", "--sd", sd), 2, "--name ../x: is no name")
    failed(here("models", "add", "textguided", "--name", "nano", "--sd", sd), 2, "there is such a preset of textguided already")
    failed(here("models", "add", "textguided", "--name", "x"), 2, "--sd: textguided stands on it")
    failed(here("models", "add", "textguided", "--name", "x", "--sd", "/nowhere/at/all"), 2, "no such folder, and no hub id")
    failed(here("models", "add", "separate", "--name", "x", "--sd", sd), 2, "METHOD: 'separate' is not one of", "textguided")
    failed(
        here("models", "add", "scsic", "--name", "x", "--cascade", sd, "--jscc", "nano"), 2,
        "--jscc: scsic does not read it; it is for diffjscc and textguided",
    )  # fmt: skip
    failed(here("models", "add", "textguided", "--name", "x", "--sd", sd, "--cascade", sd), 2, "--cascade: textguided", "scsic")
    failed(here("models", "add", "textguided", "--name", "x", "--sd", sd, "--captioner", "none"), 2, "--captioner: textguided")
    failed(here("models", "add", "textguided", "--name", "x", "--sd", sd, "--jscc", "nano"), 2, "channels of --jscc nano")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as its client asks for: a model's list of files, and the files, at one commit."""

    COMMIT = "0123456789abcdef0123456789abcdef01234567"
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, asked: list[str], *arguments: Any) -> None:
        self.folder, self.asked = folder, asked
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        headers = {"X-Repo-Commit": self.COMMIT}
        if path.startswith("/api/models/someone/sd"):
            files = sorted(file for file in self.folder.rglob("*") if file.is_file())
            siblings: list[dict[str, Any]] = []
            for file in files:
                entry: dict[str, Any] = {"rfilename": file.relative_to(self.folder).as_posix(), "size": file.stat().st_size}
                if file.suffix == ".safetensors":
                    digest = hashlib.sha256(file.read_bytes()).hexdigest()
                    entry["lfs"] = {"sha256": digest, "size": file.stat().st_size, "pointerSize": 130}
                siblings.append(entry)
            content = json.dumps({"id": "someone/sd", "sha": self.COMMIT, "siblings": siblings, "tags": []}).encode()
            if "/tree/" in path:
                content = json.dumps(
                    [{"type": "file", "path": each["rfilename"], "size": each["size"], "oid": "0" * 40} for each in siblings]
                ).encode()
        elif path.startswith(f"/someone/sd/resolve/{self.COMMIT}/"):
            file = self.folder / path.removeprefix(f"/someone/sd/resolve/{self.COMMIT}/")
            content = file.read_bytes()
            headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            if body:
                self.asked.append(file.name)
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub of our own with ``someone/sd``; gives the names of the files that are fetched from it."""
    import huggingface_hub.constants as constants

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, weights / "sd", asked))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield asked
    server.shutdown()
    server.server_close()


def test_a_preset_over_the_hub_pins_the_commit_and_fetches_when_it_is_used(hub: list[str], weights: Path, tmp_path: Path) -> None:
    own = str(weights / "textguided")
    folder = add("textguided", "sd", StableDiffusionSources(sd="someone/sd", control=own, jscc=own), None, quiet)
    assert not any(name.endswith(".safetensors") for name in hub)
    found = presets.load_config(folder)
    parts = StableDiffusionSources(sd=str(weights / "sd"), control=own, jscc=own)
    local = add("textguided", "local", parts, None, quiet)
    assert found.components["unet"].revision == Hub.COMMIT
    assert found.weights_sha256 == presets.load_config(local).weights_sha256
    method = load_method(found, CPU)
    assert hub.count("diffusion_pytorch_model.safetensors") == 1  # the VAE's: an encoder needs no more
    image = np.asarray(Image.new("RGB", (32, 32), (200, 30, 40)))
    received = Received(method.encode(image, Request(20, options=Transmitter())).symbols, None, 0.1, (32, 32))
    assert method.decode(received, Receiver(), seed=0).refined[0].shape == (32, 32, 3)
    assert hub.count("diffusion_pytorch_model.safetensors") == 2
    with pytest.raises(InputError, match=r"the hub does not give it|does not answer"):
        add("textguided", "other", StableDiffusionSources(sd="someone/else"), None, quiet)


def test_what_the_hub_s_cache_holds_is_taken_offline(
    weights: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kept = tmp_path / "hub" / "models--someone--sd"
    shutil.copytree(weights / "sd", kept / "snapshots" / Hub.COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(Hub.COMMIT)
    own = str(weights / "textguided")
    found = presets.load_config(
        add("textguided", "sd", StableDiffusionSources(sd="someone/sd", control=own, jscc=own), None, quiet)
    )
    assert (found.components["unet"].pretrained, found.components["unet"].revision) == ("someone/sd", Hub.COMMIT)
    assert load_method(found, CPU).encode(read_image(photo), Request(20, options=Transmitter())).symbols.shape == (20,)
    verify_pretrained(found)
    with pytest.raises(InputError, match="someone/else: no such folder, and the hub does not give it"):
        add("textguided", "other", StableDiffusionSources(sd="someone/else"), None, quiet)
