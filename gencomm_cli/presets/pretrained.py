"""``gencomm models add``: presets over pretrained models in diffusers' layout, in a local folder or on the hub.

The preset itself is small: it points at the models, with the hub's commit where they are on the hub, and the SHA-256 of every file.
What is there is checked by the models' own configurations before anything is written; nothing large is loaded or fetched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from diffusers import ConfigMixin
from safetensors import SafetensorError, safe_open
from torch import nn

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.networks.control import CSI_WIDTH, LatentControlNet, control_arguments
from gencomm_cli.presets import FORMAT, VERSION, Component, Preset, entry_of
from gencomm_cli.presets.build import build_tokenizer, builders, pretrained_class
from gencomm_cli.presets.files import digest, one_line
from gencomm_cli.text.captioners import settled

Say = Callable[[str], None]
LAYOUT = "diffusers' layout, as a pipeline's save_pretrained writes it"
LARGE = 10**8
"""Bytes of a file that takes a while to hash."""
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
"""Of the backbones that textguided and diffjscc can stand on: Stable Diffusion's, by noise prediction."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        method: ``textguided``, ``diffjscc`` or ``scsic``. name: of the preset.
        source: folder or hub id of the backbone. revision: branch, tag or commit on the hub. variant: ``fp16`` for weights named
            ``….fp16.safetensors``.
        control, jscc: presets (names or folders) to take these components from; without them the preset is one to train.
        captioner: of diffjscc, as :func:`gencomm_cli.text.captioners.caption` names them.
        stage_b: of scsic, the subfolder with stage B. encoder, previewer: of scsic, their files below ``source``.
    """

    method: str
    name: str
    source: str
    revision: str | None = None
    variant: str | None = None
    control: str | None = None
    jscc: str | None = None
    captioner: str | None = None
    stage_b: str = "decoder"
    encoder: str = "effnet_encoder.safetensors"
    previewer: str = "previewer.safetensors"


class Source(Protocol):
    """A folder with models: what it is called in a preset, the files below it, a small one's path, and every one's SHA-256."""

    name: str
    revision: str | None
    files: frozenset[str]

    def path(self, file: str) -> Path: ...

    def sha256(self, file: str) -> str: ...


class LocalFolder:
    """A folder on this machine."""

    revision: str | None = None

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder.resolve(), say
        self.name = str(self.folder)
        found = (path for pattern in ("*", "*/*") for path in self.folder.glob(pattern))
        self.files = frozenset(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    def path(self, file: str) -> Path:
        """Where it is."""
        return self.folder / file

    def sha256(self, file: str) -> str:
        """By hashing it, if that has not been done before."""
        if (size := self.path(file).stat().st_size) > LARGE:
            self.say(f"{file}: {size / 1e9:.1f} GB, hashed once")
        return digest(self.path(file))


class HubRepository:
    """A repository of the hub at one commit; weights stay there until the preset is used.

    Raises:
        InputError: the hub does not know it, or does not answer.
    """

    def __init__(self, name: str, revision: str | None) -> None:
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(name, revision=revision, files_metadata=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{name}: no such folder, and the hub does not give it ({one_line(error)}); give a local folder"
            ) from None
        except Exception as error:  # the hub's client has errors of its own, from one release to the next
            raise InputError(f"{name}: the hub does not answer ({one_line(error)}); give a local folder") from None
        self.name, self.revision = name, info.sha
        self.hashes = {each.rfilename: each.lfs.sha256 if each.lfs else None for each in info.siblings or ()}
        self.files = frozenset(self.hashes)

    def path(self, file: str) -> Path:
        """Fetches it, once."""
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.name, file, revision=self.revision))
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.name}: {file} cannot be fetched ({one_line(error)}); give a local folder") from None

    def sha256(self, file: str) -> str:
        """As the hub has it; small files, which it hashes in another way, are fetched and hashed."""
        return self.hashes[file] or digest(self.path(file))


def open_source(text: str, revision: str | None, say: Say) -> Source:
    """The folder of that name, or the hub's repository.

    Raises:
        InputError: it is neither.
    """
    if Path(text).is_dir():
        return LocalFolder(Path(text), say)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise InputError(f"{text}: no such folder, and no hub id (OWNER/NAME) either; give one of the two, in {LAYOUT}")
    return HubRepository(text, revision)


@dataclass(frozen=True)
class Model:
    """One pretrained model of a source: its configuration, and the component that a preset names it by."""

    config: Mapping[str, Any]
    component: Component

    @cached_property
    def blueprint(self) -> nn.Module:
        """The network without numbers."""
        name, config = self.component.class_name, dict(self.config)
        builder = pretrained_class(name)
        try:
            with torch.device("meta"):
                if isinstance(builder, type) and issubclass(builder, ConfigMixin):
                    return cast(nn.Module, cast(Any, builder).from_config(config))
                return builders()[name](**config)
        except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{self.component.subfolder}/config.json: no {name} has this configuration ({one_line(error)})"
            ) from None

    @property
    def entry(self) -> dict[str, Any]:
        """As ``config.json`` of a preset has it."""
        return entry_of(self.component)


def _component(source: Source, name: str, class_name: str, files: list[str], config: Mapping[str, Any], **words: Any) -> Component:
    hashes = {file: source.sha256(file) for file in sorted(files)}
    combined = presets.combined_hash(list(hashes.values()))
    return Component(name, class_name, None, combined, config, source.name, revision=source.revision, files=hashes, **words)


def _document(source: Source, file: str) -> dict[str, Any]:
    if file not in source.files:
        raise InputError(f"{source.name}: lacks {file}; give a local folder or a hub id in {LAYOUT}")
    try:
        found = json.loads(source.path(file).read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{source.name}: {file} is not a JSON object; fetch it again from where you have it")
    return found


KEEP = ("block_out_channels", "patch_size")
"""What methods want to know of a denoiser before it is loaded."""


def model(source: Source, name: str, class_name: str, subfolder: str, variant: str | None = None) -> Model:
    """The model in ``subfolder``, whose configuration says that it is a ``class_name``.

    Raises:
        InputError: it is missing, is another kind of model, or has no safetensors.
    """
    config = _document(source, f"{subfolder}/config.json")
    found = config.get("_class_name") or next(iter(config.get("architectures") or [None]))
    if str(found).lower() != class_name.lower():
        raise InputError(f"{source.name}: {subfolder}/config.json is of a {found}; {class_name} belongs there")
    weights, taken = _weights(source, subfolder, variant)
    kept = {key: config[key] for key in KEEP if key in config}
    component = _component(
        source, name, class_name, [f"{subfolder}/config.json", *weights], kept, subfolder=subfolder, variant=taken
    )
    result = Model(config, component)
    if isinstance(source, LocalFolder):
        _check_numbers(source, result, [file for file in weights if file.endswith(".safetensors")])
    return result


def _weights(source: Source, subfolder: str, variant: str | None) -> tuple[list[str], str | None]:
    """Files of a model's weights, and their variant: the one asked for, else none, else the only one there is."""
    inside = {file.rpartition("/")[2] for file in source.files if file.startswith(f"{subfolder}/")}
    for stem in ("diffusion_pytorch_model", "model"):
        shards = f"{stem}.safetensors.index.json"
        if variant is None and shards in inside and f"{stem}.safetensors" not in inside:
            parts = _document(source, f"{subfolder}/{shards}").get("weight_map")
            names = sorted({str(part) for part in parts.values()}) if isinstance(parts, dict) else []
            if not names or not inside.issuperset(names):
                raise InputError(f"{source.name}: {subfolder}/{shards} names files that are not there; fetch the folder again")
            return [f"{subfolder}/{file}" for file in (shards, *names)], None
        found = {match[1]: file for file in inside if (match := re.fullmatch(rf"{stem}(?:\.(\w+))?\.safetensors", file))}
        taken = variant if variant is not None or None in found or len(found) != 1 else next(iter(found))
        if taken in found:
            return [f"{subfolder}/{found[taken]}"], taken
    if any(file.endswith((".bin", ".ckpt", ".pth")) for file in inside):
        raise InputError(
            f"{source.name}: {subfolder} has pickled weights alone; give a copy with .safetensors (save_pretrained writes them)"
        )
    asked = f" of variant {variant}" if variant else ""
    raise InputError(
        f"{source.name}: {subfolder} has no weights{asked} (.safetensors); give a local folder or a hub id in {LAYOUT}"
    )


def _check_numbers(source: LocalFolder, model: Model, weights: list[str]) -> None:
    """Refuses weights that hold another number of numbers than the configuration asks for. (Names differ between releases.)"""
    held = 0
    for file in weights:
        try:
            with safe_open(source.path(file), "pt") as opened:
                slices = (opened.get_slice(key) for key in opened.keys())  # noqa: SIM118
                held += sum(torch.Size(each.get_shape()).numel() for each in slices if each.get_dtype().startswith(("F", "BF")))
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{source.path(file)}: not safetensors ({one_line(error)}); fetch it again from where you have it"
            ) from None
    wanted = sum(tensor.numel() for tensor in model.blueprint.state_dict().values() if tensor.is_floating_point())
    if held != wanted:
        raise InputError(
            f"{source.name}: {model.component.subfolder} holds {held} numbers, and its config.json asks for {wanted}; "
            "config and weights are of different models"
        )


def _tokenizer(source: Source, subfolder: str, most: int) -> Component:
    names = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
    files = [f"{subfolder}/{name}" for name in names if f"{subfolder}/{name}" in source.files]
    if not files:
        raise InputError(f"{source.name}: lacks {subfolder}/tokenizer_config.json; give a local folder or a hub id in {LAYOUT}")
    component = _component(source, "tokenizer", "CLIPTokenizer", files, {}, subfolder=subfolder)
    size = len(build_tokenizer(component))
    if size > most:
        raise InputError(
            f"{source.name}: {subfolder} has {size} tokens, and the text encoder knows {most}; they are of different models"
        )
    return component


def _fit(source: Source, what: str, one: object, other: object) -> None:
    if one != other:
        raise InputError(f"{source.name}: {what}: {one} is not {other}; these are not parts of one model")


def backbone(source: Source, variant: str | None) -> dict[str, Model | Component]:
    """Stable Diffusion's VAE, UNet, text encoder and tokeniser, which fit one another.

    Raises:
        InputError: one is missing, of another kind, or does not fit.
    """
    vae = model(source, "vae", "AutoencoderKL", "vae", variant)
    unet = model(source, "unet", "UNet2DConditionModel", "unet", variant)
    text = model(source, "text_encoder", "CLIPTextModel", "text_encoder", variant)
    sizes, words = cast(Any, unet.blueprint).config, cast(Any, text.blueprint).config
    latent = cast(Any, vae.blueprint).config.latent_channels
    if sizes.addition_embed_type is not None or sizes.class_embed_type is not None:
        raise InputError(f"{source.name}: its unet wants more than a prompt (SDXL's does); give Stable Diffusion 1.x or 2.x")
    _fit(source, "channels of the unet's input and of the vae's latent", sizes.in_channels, latent)
    _fit(source, "channels of the unet's output and of the vae's latent", sizes.out_channels, latent)
    _fit(source, "width of the unet's cross-attention and of the text encoder", sizes.cross_attention_dim, words.hidden_size)
    if "scheduler/scheduler_config.json" in source.files:
        schedule = _document(source, "scheduler/scheduler_config.json")
        if schedule.get("prediction_type", "epsilon") != "epsilon":
            raise InputError(
                f"{source.name}: its unet predicts {schedule['prediction_type']}; give one that predicts noise (SD 2.x: the base)"
            )
        for key, value in SCHEDULE.items():
            _fit(source, f"the scheduler's {key} and ours", schedule.get(key, value), value)
    return {"vae": vae, "unet": unet, "text_encoder": text, "tokenizer": _tokenizer(source, "tokenizer", words.vocab_size)}


def _taken(plan: Plan, part: str, given: str) -> tuple[Preset, Component]:
    """A component with a file of its own, of the preset that ``--control`` or ``--jscc`` names."""
    methods = (plan.method, *(method for method in ("textguided", "diffjscc") if method != plan.method))
    folder = next((found for method in methods if (found := presets.folder_of(method, given)) is not None), Path(given))
    preset = presets.load_config(folder)
    component = preset.components.get(part)
    if component is None or component.path is None:
        raise InputError(f"--{part} {given}: that preset has no {part} of its own; `gencomm train` or `models import` makes one")
    presets.verify(replace(preset, components={part: component}))
    return preset, component


def trained(plan: Plan, source: Source, unet: Model, latent: int) -> tuple[dict[str, Component], dict[str, Any]]:
    """Control module and JSCC of other presets, which fit the backbone, and the settings that they were trained with.

    Raises:
        InputError: one does not fit.
    """
    settings: dict[str, Any] = {"steps": 5} if plan.method == "textguided" else {"steps": 50}
    found: dict[str, Component] = {}
    if plan.control is not None:
        preset, found["control"] = _taken(plan, "control", plan.control)
        settings |= preset.settings
        with torch.device("meta"):
            sizes = LatentControlNet(**found["control"].config).config
        for key, value in control_arguments(cast(Any, unet.blueprint)).items():
            _fit(source, f"{key} of --control {plan.control} and of the unet", _plain(sizes[key]), _plain(value))
        width = CSI_WIDTH if plan.method == "textguided" else CsiEmbedding(**settings.get("csi", {})).size
        _fit(source, f"numbers of CSI that --control {plan.control} takes and {plan.method} gives", sizes.csi_width, width)
    if plan.jscc is not None:
        preset, found["jscc"] = _taken(plan, "jscc", plan.jscc)
        settings |= {key: preset.settings[key] for key in ("domain", "cbr_range") if key in preset.settings}
        jscc = found["jscc"]
        if plan.method == "textguided" and jscc.class_name != "RateAdaptiveJSCC":
            raise InputError(f"--jscc {plan.jscc}: is a {jscc.class_name}, and textguided sends with a RateAdaptiveJSCC alone")
        if jscc.class_name == "RateAdaptiveJSCC":
            channels = latent if settings.get("domain", "latent") == "latent" else 3
            _fit(source, f"channels of --jscc {plan.jscc} and of what it sends", jscc.config["channels"], channels)
    return found, settings


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def cascade(source: Source, plan: Plan) -> dict[str, Model | Component]:
    """Stable Cascade's stages A and B, its semantic encoder and previewer, which fit one another.

    Raises:
        InputError: one is missing, of another kind, or does not fit.
    """
    stage_a = model(source, "stage_a", "PaellaVQModel", "vqgan", plan.variant)
    stage_b = model(source, "stage_b", "StableCascadeUNet", plan.stage_b, plan.variant)
    latent, sizes = cast(Any, stage_a.blueprint).config.latent_channels, cast(Any, stage_b.blueprint).config
    _fit(source, "channels of stage B's input and of stage A's latent", sizes.in_channels, latent)
    found: dict[str, Model | Component] = {"stage_a": stage_a, "stage_b": stage_b}
    for name, class_name, file in (("encoder", "EfficientNetEncoder", plan.encoder), ("previewer", "Previewer", plan.previewer)):
        if name == "previewer" and file == Plan.previewer and file not in source.files:
            continue  # it makes the coarse image, and nothing else needs it
        if file not in source.files:
            raise InputError(
                f"{source.name}: lacks {file}; give --{name} FILE, a file of Stable Cascade's {name} below {source.name}"
            )
        config = _sizes(source, name, file)
        found[name] = Model(config, _component(source, name, class_name, [file], config))
    with torch.device("meta"):
        channels = builders()["EfficientNetEncoder"](**cast(Model, found["encoder"]).config).channels  # type: ignore[union-attr]
    _fit(source, "channels of stage B's condition and of the encoder's embedding", sizes.effnet_in_channels, channels)
    return found


def _sizes(source: Source, name: str, file: str) -> dict[str, Any]:
    """Constructor arguments of encoder or previewer: in a ``.json`` beside the file, else as published."""
    beside = str(Path(file).with_suffix(".json"))
    return _document(source, beside) if beside in source.files else {}


def add(plan: Plan, out: Path | None, say: Say) -> Path:
    """Writes the preset and returns its folder, ``out/METHOD/NAME``.

    Args:
        out: a models folder; the user's (:func:`gencomm_cli.presets.user_root`) if None.

    Raises:
        InputError: a component is missing or does not fit, or there is such a preset already.
    """
    root = out or presets.user_root()
    folder = root / plan.method / plan.name
    if not presets.is_name(plan.name):
        raise InputError(f"--name {plan.name}: is no name; use letters, digits, - and _")
    if folder.exists() or presets.folder_of(plan.method, plan.name) is not None:
        raise InputError(
            f"--name {plan.name}: there is such a preset of {plan.method} already; take another name, or delete {folder}"
        )
    captioner = None if plan.captioner is None else settled(plan.captioner)
    source = open_source(plan.source, plan.revision, say)
    settings: dict[str, Any] = {}
    own: dict[str, Component] = {}
    if plan.method == "scsic":
        parts = cascade(source, plan)
    else:
        parts = backbone(source, plan.variant)
        vae = cast(Model, parts["vae"])
        own, settings = trained(plan, source, cast(Model, parts["unet"]), cast(Any, vae.blueprint).config.latent_channels)
    if captioner is not None:
        settings["captioner"] = captioner
    document = {
        "format": FORMAT, "version": VERSION, "method": plan.method, "name": plan.name,
        "components": {name: part.entry if isinstance(part, Model) else entry_of(part) for name, part in parts.items()}
        | {name: entry_of(part) | {"file": f"{name}.safetensors"} for name, part in own.items()},
        "settings": settings,
    }  # fmt: skip
    _write(folder, document, own, _card(plan, source))
    if plan.method != "scsic" and len(own) < 2:
        missing = " and ".join(part for part in ("control", "jscc") if part not in own)
        say(f"{plan.method}/{plan.name}: has no {missing} yet; `gencomm train {plan.method} --start {plan.name}` trains them")
    return folder


def _card(plan: Plan, source: Source) -> str:
    at = f" at commit {source.revision}" if source.revision else ""
    return f"# {plan.method}/{plan.name}\n\nAdded by `gencomm models add`, over {source.name}{at}. Its licence is theirs.\n"


def _write(folder: Path, document: Mapping[str, Any], own: Mapping[str, Component], card: str) -> None:
    """The whole folder or nothing; files of other presets are linked where the file system can, else copied."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
        made = Path(name) / folder.name
        made.mkdir()
        for part, component in own.items():
            assert component.path is not None
            try:
                os.link(component.path, made / f"{part}.safetensors")
            except OSError:
                shutil.copyfile(component.path, made / f"{part}.safetensors")
        (made / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        (made / "README.md").write_text(card)
        made.rename(folder)
