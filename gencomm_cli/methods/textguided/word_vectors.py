"""Static word vectors, from which a small text encoder starts: a few thousand captions do not teach it what words mean.

They are WordLlama's (MIT), 256 numbers for each of 32,000 pieces of words, and come with the Python package of that name. Only its
files are read.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from gencomm_cli.errors import InputError

VECTORS, PIECES = "wordllama/weights/l2_supercat_256.safetensors", "wordllama/tokenizers/l2_supercat_tokenizer_config.json"


def word_vectors(words: list[str]) -> Tensor:
    """Of each word the mean vector of its pieces, float32 [N, 256]; their mean over the words is zero.

    Raises:
        InputError: WordLlama is not installed.
    """
    try:
        package = distribution("wordllama")
    except PackageNotFoundError:
        raise InputError("--config: prior.recipe.words needs word vectors; pip install 'gencomm[train]'") from None
    table = next(iter(load_file(str(package.locate_file(VECTORS))).values())).float()
    pieces = Tokenizer.from_file(str(package.locate_file(PIECES)))
    found = [table[encoded.ids].mean(0) for encoded in pieces.encode_batch(words, add_special_tokens=False)]
    vectors = torch.stack(found)
    return vectors - vectors.mean(0)


@torch.no_grad()
def start_words(text_model: CLIPTextModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Sets the embeddings of all tokens but the special ones, in a model at most 256 wide, to their vectors' principal components.

    They have unit variance altogether, so that training hardly moves those of rare words.
    """
    special = set(tokenizer.all_special_ids)
    tokens = [token for token in range(len(tokenizer)) if token not in special]
    vectors = word_vectors([tokenizer.decode([token]).strip() or "," for token in tokens])
    embedding = text_model.get_input_embeddings().weight
    assert isinstance(embedding, Tensor)
    _, _, components = torch.linalg.svd(vectors, full_matrices=False)
    vectors = vectors @ components[: embedding.shape[1]].T
    embedding[tokens] = (vectors / vectors.std()).to(embedding)
