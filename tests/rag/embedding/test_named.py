import numpy as np
import pytest
from fakes.embedders import WordEmbedder

from rag.embedding.named import NamedEmbedder
from rag.errors import RagError


def test_the_real_embedder_does_the_work_when_it_is_the_one_named() -> None:
    real = WordEmbedder("words@1")
    named = NamedEmbedder("words@1", lambda: real)
    assert (named.dimension, named.max_tokens, named.count_tokens("a b")) == (real.dimension, None, 2)
    assert named.token_spans(["a b"]) == [[(0, 1), (2, 3)]]
    np.testing.assert_array_equal(named.embed(["a"])[0], named.embed_query("a"))


def test_another_embedder_than_the_one_named_embeds_nothing() -> None:
    real = WordEmbedder("words@2")
    with pytest.raises(RagError, match="built with embedder 'words@1', not 'words@2'; give the config"):
        NamedEmbedder("words@1", lambda: real).embed(["a"])
    assert real.num_embedded == 0


def test_the_name_alone_needs_no_embedder() -> None:
    def make() -> WordEmbedder:
        raise AssertionError("nobody embeds")

    assert NamedEmbedder("words@1", make).name == "words@1"
