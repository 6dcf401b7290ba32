from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from rag.store import pending
from rag.store.pending import Embedding
from storage.database import Database

DAY_S = 86_400.0


@pytest.fixture
def store(database: Database) -> Database:
    return database


def _keep(store: Database, index_name: str, origin: str, hashes: Sequence[str], *, now: float = 0.0) -> None:
    made = {text_hash: Embedding(np.eye(4, dtype=np.float32)[0], 0.25) for text_hash in hashes}
    pending.keep(store, index_name, origin, "fake@1", made, now=now)


def _known(store: Database) -> set[str]:
    with store.read() as rows:
        return set(pending.known(rows, "fake@1", list("abcdef")))


def test_what_nobody_came_back_for_is_forgotten_after_thirty_days(store: Database) -> None:
    _keep(store, "abandoned", "", ["a"], now=DAY_S)
    _keep(store, "faq", "", ["b"], now=2 * DAY_S)

    _keep(store, "faq", "", ["c"], now=31 * DAY_S)
    assert _known(store) == {"a", "b", "c"}

    _keep(store, "faq", "", ["d"], now=31.5 * DAY_S)
    assert _known(store) == {"b", "c", "d"}


def test_texts_that_are_stored_are_dropped_for_their_own_index_and_origin_alone(store: Database) -> None:
    _keep(store, "faq", "x", ["a", "b"])
    _keep(store, "faq", "y", ["c"])
    _keep(store, "other", "x", ["d"])

    with store.write() as rows:
        pending.drop_texts(rows, "faq", "x", "fake@1", ["a", "c", "d"])
    assert _known(store) == {"b", "c", "d"}

    with store.write() as rows:
        pending.drop(rows, "faq", origin="y")
        pending.drop(rows, "other")
    assert _known(store) == {"b"}
