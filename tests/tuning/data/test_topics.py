"""Training rows in groups that ask of the same."""

import numpy as np
import pytest
from fakes.embedders import WordEmbedder
from numpy.typing import NDArray

from tuning.data.topics import TopicSettings, find_topics
from tuning.errors import TuningError

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def questions(*subjects: str, of: int = 8) -> NDArray[np.float32]:
    """So many questions of each subject, one subject after the other."""
    texts = [f"{subject} {subject} {subject} {word}" for subject in subjects for word in WORDS[:of]]
    return WordEmbedder().embed(texts)


def test_rows_of_one_subject_are_one_topic_and_the_nearest_centroid_is_their_own() -> None:
    vectors = questions("tide", "loan", "boat")
    topics = find_topics(vectors, TopicSettings(count=3), seed=0)
    assert [topic.rows for topic in topics] == [tuple(range(8)), tuple(range(8, 16)), tuple(range(16, 24))]
    nearest = (vectors @ np.array([topic.centroid for topic in topics]).T).argmax(axis=1)
    assert nearest.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert np.linalg.norm(topics[0].centroid) == pytest.approx(1, abs=1e-4)


def test_the_same_vectors_and_seed_give_the_same_topics() -> None:
    vectors = WordEmbedder().embed([f"{a} {b}" for a in WORDS for b in WORDS])
    numbers = TopicSettings(count=5, least_rows=4)
    assert find_topics(vectors, numbers, seed=3) == find_topics(vectors, numbers, seed=3)


def test_a_topic_of_too_few_rows_joins_its_nearest() -> None:
    vectors = np.concatenate([questions("tide", "loan"), questions("boat", of=3)])
    topics = find_topics(vectors, TopicSettings(count=3, least_rows=4), seed=0)
    assert sorted(len(topic.rows) for topic in topics) in ([8, 11], [9, 10])
    assert sorted(row for topic in topics for row in topic.rows) == list(range(19)), "none is left out"


def test_rows_that_make_no_two_topics_are_refused() -> None:
    with pytest.raises(TuningError, match=r"questions of 8 training rows make no two topics of 8 rows each"):
        find_topics(questions("tide"), TopicSettings(count=2), seed=0)
    with pytest.raises(TuningError, match="no two topics"):
        find_topics(np.repeat(questions("tide", of=1), 20, axis=0), TopicSettings(count=4, least_rows=1), seed=0)
