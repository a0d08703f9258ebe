"""Makes the tables of the built-in captioner: ``python examples/build/captioner_tables.py DATA OUT``.

``DATA`` holds images and ``captions.tsv`` (file name, tab, caption). Everything is in closed form: an SVD places the words, a
ridge regression maps image features (of each image and its mirror image) to the places of their captions. Images of the
validation split are left out of the tables and used to report how good they are.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.photographs import CAPTIONS
from gencomm_cli.text.retrieval import TEXTS, Retriever, features, load, words
from gencomm_cli.textfiles import read_table
from gencomm_cli.training.data import is_validation


def _read(folder: Path) -> list[tuple[str, str]]:
    return [(name, text) for name, text in read_table(folder / CAPTIONS) if text]


def _features(folder: Path, names: list[str], mirrored: bool) -> np.ndarray:
    """Features float32 [len(names), n], of mirror images too if asked for [2·len(names), n]."""
    rows = []
    for name in names:
        image = read_image(folder / name)
        rows.append([features(image), features(image[:, ::-1])] if mirrored else [features(image)])
    return np.array(rows).reshape(len(names) * (1 + mirrored), -1)


def build(folder: Path, *, rank: int = 128, ridge: float = 1.0, least_uses: int = 4) -> Retriever:
    """Tables from the training split of ``folder``.

    Args:
        rank: coordinates of the latent space.
        ridge: penalty of the regression, in units of the number of samples (features have unit variance).
        least_uses: a word counts if at least so many captions have it.

    Raises:
        InputError: there are no captions.
    """
    rows = [row for row in _read(folder) if not is_validation(row[0])]
    if not rows:
        raise InputError(f"{folder}: captions.tsv names no training image; each line is a file name, a tab and a caption")
    captions = tuple(text for _, text in rows)
    uses = Counter(word for text in captions for word in words(text))
    vocabulary = tuple(sorted(word for word, count in uses.items() if count >= least_uses))
    index = {word: i for i, word in enumerate(vocabulary)}
    rarity = np.log(len(captions) / np.array([uses[word] for word in vocabulary])).astype(np.float32)
    table = np.zeros((len(captions), len(vocabulary)), np.float32)
    for row, text in enumerate(captions):
        known = [index[word] for word in words(text) if word in index]
        table[row, known] = rarity[known]
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    mean_caption = table.mean(0)
    _, vectors = np.linalg.eigh((table - mean_caption).T @ (table - mean_caption))
    places = vectors[:, ::-1][:, :rank]
    target = np.repeat((table - mean_caption) @ places, 2, axis=0)

    found = _features(folder, [name for name, _ in rows], mirrored=True)
    mean, scale = found.mean(0), found.std(0) + 1e-2
    found = np.clip((found - mean) / scale, -5, 5)
    penalty = ridge * len(found) * np.eye(found.shape[1], dtype=np.float32)
    mapping = np.linalg.solve((found.T @ found + penalty).astype(np.float64), (found.T @ target).astype(np.float64))
    return Retriever(captions, vocabulary, rarity, places, mean_caption @ places, mean, scale, mapping.astype(np.float32))


def save(retriever: Retriever, folder: Path) -> None:
    """Writes the tables that :func:`gencomm_cli.text.retrieval.load` reads, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("rarity", "places", "centre", "mean", "scale", "mapping")
    save_file({name: getattr(retriever, name).astype(np.float16) for name in names}, folder / "tables.safetensors")
    for name, texts in zip(TEXTS, (retriever.captions, retriever.vocabulary), strict=True):
        (folder / name).write_text("\n".join(texts) + "\n", "utf-8")


def evaluate(retriever: Retriever, folder: Path) -> dict[str, float]:
    """Word recall and latent cosine on the validation split, of the caption found, of a random one and of the best there is."""
    rows = [row for row in _read(folder) if is_validation(row[0])]
    own = retriever.locate(tuple(text for _, text in rows))
    there = retriever.locate(retriever.captions)
    expected = retriever.expect(_features(folder, [name for name, _ in rows], mirrored=False))
    choices = {
        "found": (expected @ there.T).argmax(1),
        "random": np.random.default_rng(0).integers(len(there), size=len(rows)),
        "best": (own @ there.T).argmax(1),
    }
    figures = {}
    for kind, picks in choices.items():
        chosen = [words(retriever.captions[pick]) for pick in picks]
        wanted = [words(text) for _, text in rows]
        shared = [len(a & b) / max(len(a), 1) for a, b in zip(wanted, chosen, strict=True)]
        figures[f"recall_{kind}"] = float(np.mean(shared))
        figures[f"cosine_{kind}"] = float((own * there[picks]).sum(1).mean())
    return figures


def main() -> None:
    """Command line of the builder."""
    parser = argparse.ArgumentParser(description="Make the built-in captioner's tables.")
    parser.add_argument("data", type=Path, help="folder of images with captions.tsv")
    parser.add_argument("out", type=Path, help="folder to write the tables to")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--ridge", type=float, default=1.0)
    arguments = parser.parse_args()
    save(build(arguments.data, rank=arguments.rank, ridge=arguments.ridge), arguments.out)
    for name, figure in evaluate(load(arguments.out), arguments.data).items():
        print(f"{name} {figure:.3f}")


if __name__ == "__main__":
    main()
