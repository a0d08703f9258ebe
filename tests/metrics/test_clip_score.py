"""CLIP score with a tiny random CLIP made here, against transformers' own logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

from gencomm_cli.errors import InputError
from gencomm_cli.metrics.clip_score import ClipScore
from gencomm_cli.metrics.report import measure


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 32×32 pixels, patches of 8, and letters as tokens."""
    where = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(97, 123)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer: Any = transformers.CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])
    tokenizer.save_pretrained(where)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    config = transformers.CLIPConfig(
        text_config=layers | ends | {"vocab_size": len(tokens), "max_position_embeddings": 12},
        vision_config=layers | {"image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    model: Any = transformers.CLIPModel(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(where)
    processor: Any = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    processor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(where)
    return where


def _images(count: int) -> torch.Tensor:
    """[count, 3, 32, 32] on the 8-bit grid, so that neither resizing nor rounding changes them."""
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(1)) / 255


def test_embeddings_are_the_models_own(folder: Path) -> None:
    images, model = _images(3), cast(Any, transformers.CLIPModel.from_pretrained(folder))
    mean, deviation = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[52, 53]]), pixel_values=pixels).image_embeds
    torch.testing.assert_close(ClipScore(str(folder)).embed_images(images), expected, atol=1e-4, rtol=0)


def test_image_image_is_a_cosine(folder: Path) -> None:
    images = _images(4)
    score = ClipScore(str(folder))
    found = score.image_image(images, images.flip(0))
    embedded = score.embed_images(images).double().numpy()
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.numpy(), (embedded * embedded[::-1]).sum(1), atol=1e-5)
    np.testing.assert_allclose(score.image_image(images, images).numpy(), 1, atol=1e-5)
    assert (found < 0.9999).all()


def test_what_is_no_clip_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not usable as a CLIP model") as caught:
        ClipScore(str(tmp_path))
    assert "\n" not in str(caught.value)
    model: Any = transformers.CLIPTextModel(transformers.CLIPModel.from_pretrained(folder).config.text_config)
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(InputError, match="has no weights for") as caught:
        ClipScore(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_it_is_a_metric_where_a_model_is_given(folder: Path) -> None:
    first, second = (np.asarray((255 * image).permute(1, 2, 0).byte()) for image in _images(2))
    found = measure(first, second, names=("psnr", "clip_score"), clip_model=str(folder))
    expected = ClipScore(str(folder)).image_image(*(torch.tensor(each).permute(2, 0, 1)[None] / 255 for each in (first, second)))
    assert found["clip_score"] == pytest.approx(float(expected), abs=1e-6)
    assert measure(first, first, names=("clip_score",), clip_model=str(folder))["clip_score"] == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="clip_score"):
        measure(first, second, names=("clip_score",))
