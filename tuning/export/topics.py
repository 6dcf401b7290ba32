"""The record of a set of adapters, one a topic: `read_topics(home / "adapters" / "memory@3f9c01ab").topics`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.records import from_json

TOPICS = "topics.json"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: the full name of its adapter, the ids of the rows that it learned, and their middle, a unit vector."""

    adapter: str
    rows: tuple[str, ...]
    centroid: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a set. Centroids are compared with vectors of the embedder of this name only, by their cosine; a
    question that is less like all of them than `threshold` is of no topic.
    """

    embedder: str
    threshold: float
    topics: tuple[Topic, ...]


def write_topics(folder: Path, topics: Topics) -> None:
    """Write the record into a folder."""
    (folder / TOPICS).write_text(json.dumps(asdict(topics), ensure_ascii=False) + "\n", encoding="utf-8")


def read_topics(folder: Path) -> Topics:
    """The record in a folder. Raises OSError and ValueError."""
    return from_json(Topics, (folder / TOPICS).read_bytes())
