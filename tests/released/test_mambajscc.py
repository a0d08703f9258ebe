"""MambaJSCC, imported from two whole pickled modules, against the networks that have its published numbers (see their own test)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from torch import nn

from gencomm_cli.diffusion.components import BUILDERS
from gencomm_cli.errors import InputError
from gencomm_cli.jscc.mamba import Adaptation, ChannelState, MambaConfig, MambaDecoder, MambaEncoder
from gencomm_cli.jscc.mambajscc import MambaJSCC
from gencomm_cli.released.checkpoint import Checkpoint, read_checkpoint
from gencomm_cli.released.conversion import convert


def save_modules(folder: Path, name: str, config: MambaConfig, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """``encoder…`` and ``decoder…`` as the program saves them: objects of classes that are not here when they are read."""
    paths = []
    with monkeypatch.context() as patch:
        program = ModuleType("models.network")
        patch.setitem(sys.modules, "models", ModuleType("models"))
        patch.setitem(sys.modules, "models.network", program)
        for part, network in (("encoder", MambaEncoder(config)), ("decoder", MambaDecoder(config))):
            kind: Any = type(f"Mamba_{part}", (nn.Module,), {"__module__": "models.network"})
            setattr(program, kind.__name__, kind)
            whole = kind()
            setattr(whole, part, network)
            paths.append(folder / f"{part}OUTCHANS4_extentMLP_{name}_SNR[1, 3]_typerayleigh.pt")
            torch.save(whole, paths[-1])
    return paths


@pytest.mark.parametrize(("said", "adaptation"), [("ssm", "released"), ("no", "none"), ("attn", "modnet")])
@torch.no_grad()
def test_the_imported_codec_computes_what_the_published_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, adaptation: Adaptation
) -> None:
    torch.manual_seed(0)
    config = MambaConfig(3, 4, (8, 12), (1, 2), states=4, adaptation=adaptation)
    paths = save_modules(tmp_path, f"adp{said}", config, monkeypatch)
    with monkeypatch.context() as patch:  # read without the program
        for name in ("models", "models.network"):
            patch.delitem(sys.modules, name, raising=False)
        checkpoints = [read_checkpoint(path) for path in paths]
    conversion = convert(checkpoints, None, {})
    assert {theirs for theirs, _ in conversion.mapped} == {name for each in checkpoints for name in each.tensors}
    component = conversion.components[0]
    codec = cast(MambaJSCC, BUILDERS[component.class_name](**component.config)).eval()
    codec.load_state_dict(dict(component.tensors))
    assert codec.config.mamba == config
    encoder, decoder = MambaEncoder(config), MambaDecoder(config)
    for (part, network), checkpoint in zip((("encoder.", encoder), ("decoder.", decoder)), checkpoints, strict=True):
        network.load_state_dict({name.removeprefix(part): tensor for name, tensor in checkpoint.tensors.items()})
    image, snr_db, size = torch.rand(1, 3, 96, 128), torch.tensor([13.0]), (96, 128)
    latent = encoder(image, ChannelState(13.0))
    count = codec.symbols(1, size)
    upper, lower = latent.chunk(2, 2)  # the rows' upper half is real, the lower imaginary
    torch.testing.assert_close(codec.code(image, count, snr_db), torch.complex(upper, lower).flatten(1))
    heard = codec.code(image, count, snr_db) + 0.1
    back = torch.cat([heard.real.view(upper.shape), heard.imag.view(lower.shape)], 2)
    torch.testing.assert_close(codec.decode(heard, size, snr_db), decoder(back, ChannelState(13.0)))


def test_the_published_size_and_what_is_missing() -> None:
    config = MambaConfig(3, 32, (128, 192, 256, 320), (2, 2, 6, 2), adaptation="released")
    with torch.device("meta"):
        networks = {"encoder": MambaEncoder(config), "decoder": MambaDecoder(config)}
    files = [
        Checkpoint(Path(f"{part}.pt"), {f"{part}.{name}": tensor for name, tensor in network.state_dict().items()})
        for part, network in networks.items()
    ]
    assert MambaConfig(**convert(files, None, {"adaptation": "ssm"}).components[0].config["mamba"]) == config
    with pytest.raises(InputError, match="adaptation is None, of ssm, no, attn"):
        convert(files, None, {})
    with pytest.raises(InputError, match="0 files with MambaJSCC's decoder; give the encoder's and the decoder's"):
        convert(files[:1], None, {"adaptation": "ssm"})
