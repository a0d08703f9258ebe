from itertools import pairwise

import numpy as np
import pytest
import text_link

from gencomm_cli.text import text_model
from gencomm_cli.text.text_model import END, ESCAPE, SHIFT, TokenPredictor

CAPTIONS = ["a dog runs.", "a dog sleeps.", "A cat runs, a dog sits."] * 3 + ["the cat", "zebras!"]


def test_tokens_join_to_the_text() -> None:
    text = "A man's 12 dogs,  running\n(fast) naïve 日本 \U0001f600!"
    assert "".join(text_model.tokenize(text)) == " " + text
    assert text_model.tokenize("A dog.") == [" A", " dog", "."]


def test_frequencies_form_a_distribution_on_every_step() -> None:
    model = text_model.load()
    predictor = TokenPredictor(model)
    for token in [*text_model.tokenize("A brown dog runs through the grass."), "?"]:
        f = predictor.frequencies
        assert f.dtype == np.int64
        assert len(f) == len(model.vocabulary)
        assert f.min() >= 0
        assert f.sum() == pytest.approx(2**SHIFT, rel=2e-3)
        predictor.update(model.index[token])
    f = model.predict_byte([ord("n"), ord("i"), ord("k"), ord(" ")])
    assert f.min() > 0
    assert f.sum() == pytest.approx(2**SHIFT, rel=2e-3)


def test_contexts_are_hashed_alike_in_building_and_coding() -> None:
    corpus = text_link.corpus([[5, 6, 7, 8]], begin=0, end=1)
    last = len(corpus.symbols) - 1
    for length in range(1, 5):
        assert text_link.hashes(corpus, length)[last] == text_model.context_hash([8, 7, 6, 5][:length])


def test_small_model_against_kneser_ney_by_hand() -> None:
    """The bigram model of the builder, with its counts and discounts done again in plain Python."""
    arrays = text_link.build_text(CAPTIONS, CAPTIONS[-2:], (1,), (1,))
    model = text_model.from_arrays(arrays)
    texts = [[model.index.get(t, ESCAPE) for t in text_model.tokenize(c)] + [END] for c in CAPTIONS + CAPTIONS[-2:]]
    dog = model.index[" dog"]
    after = [b for text in texts for a, b in pairwise(text) if a == dog]
    kept = text_link.counts(text_link.corpus([t[:-1] for t in texts], 0, END, model.folded), 1, True, 0)[2]
    d = text_link.discounts(kept)
    runs = model.index[" runs"]
    alphas = {w: (after.count(w) - d[min(after.count(w), 3)]) / len(after) for w in set(after)}
    expected = alphas[runs] + (1 - sum(alphas.values())) * model.unigrams[runs] / 2**SHIFT
    got = model.general[0].refine(model.unigrams, [dog], model.alphas)[runs] / 2**SHIFT
    assert got == pytest.approx(expected, rel=0.04)  # alphas are stored in steps of 6 %


def test_discounts_are_chen_and_goodmans() -> None:
    kept = np.array([1] * 100 + [2] * 40 + [3] * 20 + [4] * 10)
    y = 100 / 180
    np.testing.assert_allclose(text_link.discounts(kept)[1:], [1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.5])


def test_hold_out_is_the_end_of_each_block() -> None:
    train, held = text_link.hold_out([str(i) for i in range(60)], [20, 60])
    assert held == ["19", "58", "59"]
    assert len(train) == 57


def test_captions_style_is_found_out_on_the_way() -> None:
    predictor = TokenPredictor(text_model.load())
    start = predictor.weight
    for token in text_model.tokenize("a close-up of a red wooden door, front view"):
        predictor.update(predictor.model.index[token])
    assert predictor.weight > start
    predictor = TokenPredictor(text_model.load())
    for token in text_model.tokenize("Two men are playing soccer."):
        predictor.update(predictor.model.index[token])
    assert predictor.weight < start


def test_model_is_small() -> None:
    assert (text_link.DATA / f"{text_model.VERSION}.npz").stat().st_size < 6e6
