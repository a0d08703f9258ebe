"""Prompt → text embedding, with transformers' own tokeniser and CLIP text model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase


class TextEncoder(nn.Module):
    """Prompts → embedding [B, S, D], padded or cut to the model's length; gradients reach the text model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: CLIPTextModel) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model

    def forward(self, prompts: list[str]) -> Tensor:
        length = int(self.model.config.max_position_embeddings)
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return self.model(tokens.input_ids.to(next(self.model.parameters()).device)).last_hidden_state


def text_model(**config: Any) -> CLIPTextModel:
    """A text model by the arguments of its configuration; it loads weights of any release of transformers."""
    model = CLIPTextModel(CLIPTextConfig(**config))
    model.register_load_state_dict_pre_hook(_renamed)
    return model


def _renamed(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before transformers 5.6 every name had ``text_model.`` in front: puts it there, or takes it off, as it is here."""
    own = {f"{prefix}{name}" for name in model.state_dict()}
    for name in [name for name in state if name.startswith(prefix) and name not in own]:
        bare = name.removeprefix(prefix)
        for other in (f"{prefix}text_model.{bare}", f"{prefix}{bare.removeprefix('text_model.')}"):
            if other in own:
                state[other] = state.pop(name)
                break
