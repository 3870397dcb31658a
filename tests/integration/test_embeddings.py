"""Sentence vectors by a real (tiny) encoder: as one text at a time would give them, whatever the order."""

import numpy as np
import pytest

from tasks.data.embeddings import embed_texts
from tasks.errors import ModelError

TEXTS = ["where is my refund", "card", "where is my refund", "please send the order again " * 20, "", "my card is lost"]


def test_vectors_are_those_of_single_texts_and_equal_texts_share_one(tiny_base):
    found = embed_texts(TEXTS, str(tiny_base))
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 1, 0, 1], atol=1e-3)  # the empty text has no token
    assert np.array_equal(found[0], found[2])
    single = np.concatenate([embed_texts([text], str(tiny_base)) for text in TEXTS])
    assert np.allclose(found, single, atol=2e-2)  # bfloat16


def test_the_order_of_texts_does_not_reach_the_vectors(tiny_base):
    found = embed_texts(TEXTS, str(tiny_base))
    assert np.array_equal(found[::-1], embed_texts(TEXTS[::-1], str(tiny_base)))


def test_no_texts_give_no_vectors_and_a_base_that_is_not_there_is_named(tiny_base, tmp_path):
    assert embed_texts([], str(tiny_base)).shape[0] == 0
    with pytest.raises(ModelError, match="is empty"):
        embed_texts(["x"], str(tmp_path))
