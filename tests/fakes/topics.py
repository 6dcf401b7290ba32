"""A set of adapters by topic that nobody trained: `write_set(home, WordEmbedder(), {"tide": 3, "loan": 4})`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fakes.adapters import write_adapter

from rag.embedding.embedder import Embedder
from storage.folders import read_manifest, write_manifest
from storage.hashes import hash_files
from tuning.data.rows import TrainingRow
from tuning.data.topics import TopicSettings
from tuning.export.adapters import Adapter, load_adapter
from tuning.export.topics import Topic, Topics
from tuning.methods.lora import LoraRecipe
from tuning.training.topics import publish_set


def write_set(home: Path, embedder: Embedder, subjects: Mapping[str, int], *, threshold: float = 0.2) -> Adapter:
    """One whose topics are in the middle of these words, with so many rows each."""
    members, topics = [], []
    for subject, num_rows in subjects.items():
        path = home / "adapters" / write_adapter(home, f"memory-{subject}")
        member = load_adapter(path)
        manifest = {**read_manifest(path), "num_rows": num_rows, "files": hash_files(path)}
        write_manifest(path, manifest)
        members.append(load_adapter(path))
        (vector,) = embedder.embed([subject])
        topics.append(Topic(member.name, (subject,), tuple(map(float, vector))))
    return publish_set(
        members,
        Topics(embedder.name, threshold, tuple(topics)),
        name="memory",
        digest="d1",
        rows=[TrainingRow(({"role": "user", "content": subject},), "yes") for subject in subjects],
        recipe=LoraRecipe(),
        numbers=TopicSettings(threshold=threshold),
    )
