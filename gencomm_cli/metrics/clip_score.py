"""CLIP score: cosine between embeddings of images (Radford et al., 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from gencomm_cli.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import Tensor


class ClipScore:
    """A CLIP model that the user names, with its own resizing.

    Args:
        name: local folder or hub id, as transformers' ``from_pretrained`` takes it. Weights are loaded as tensors only.
        device: torch device.

    Raises:
        InputError: there is no such model, or it is no CLIP.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        import transformers

        try:
            found: tuple[Any, dict[str, Any]] = transformers.CLIPModel.from_pretrained(
                name, weights_only=True, dtype=torch.float32, output_loading_info=True
            )
            self.processor = transformers.AutoImageProcessor.from_pretrained(name, backend="pil")
        except Exception as error:  # transformers raises anything at all for a folder that is no model
            raise InputError(f"{name}: not usable as a CLIP model ({one_line(error)}); name a folder or hub id of one") from None
        model, loading = found
        if loading["missing_keys"]:  # transformers fills them with random values
            raise InputError(f"{name}: has no weights for {min(loading['missing_keys'])}; name a folder or hub id of a CLIP model")
        self.model = model.to(device).eval()

    @torch.inference_mode()
    def embed_images(self, images: Tensor) -> Tensor:
        """Embeddings of unit length, float32 [B, D], of images [B, 3, H, W] in [0, 1], taken at 8 bits a sample."""
        pictures = list((255 * images).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"].to(self.model.device)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    def image_image(self, first: Tensor, second: Tensor) -> Tensor:
        """Cosine, float32 [B] in -1..1, between the images of two batches [B, 3, H, W] in [0, 1]; 1 for equal images."""
        return (self.embed_images(first) * self.embed_images(second)).sum(1)
