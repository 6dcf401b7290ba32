"""A set of trained adapters, one a topic, as an adapter of its own: the record of which answers what, and its manifest.

digest = set_hash(base=base, rows=rows, recipe=recipe, numbers=TopicSettings(), embedder=embedder.name, seed=0)
find_adapter(home / "adapters", "memory", digest)   or   publish_set(members, topics, name="memory", digest=digest, ...)
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from storage.folders import draft_folder, publish, read_manifest, write_manifest
from storage.hashes import content_hash, hash_files
from tuning.base import MODEL_CARD, ResolvedModel
from tuning.data.rows import Row
from tuning.data.topics import TopicSettings
from tuning.export.adapters import Adapter, adapter_hash, load_adapter
from tuning.export.admission import chat_template_hash
from tuning.export.model_card import card_text
from tuning.export.topics import Topics, write_topics
from tuning.recipe import Recipe
from tuning.training.energy import Energy
from tuning.training.run import VERSION, recipe_hash, rows_hash

# Of a member's manifest, what is true of the set too.
_SHARED = (
    "base_name", "base_revision", "chat_template_hash", "method", "base_quantization", "objective", "base_license",
    "packages", "provenance", "device", "precision",
)  # fmt: skip


def set_hash(
    *, base: ResolvedModel, rows: Sequence[Row], recipe: Recipe, numbers: TopicSettings, embedder: str, seed: int
) -> str:
    """64 hex digits over all that decides a set; `embedder` is the name of what its questions are compared by."""
    one = recipe_hash(base=base, chat_template=chat_template_hash(base.path), rows=rows, recipe=recipe)
    return content_hash("topics", one, json.dumps(asdict(numbers), sort_keys=True), embedder, f"{seed}")


def publish_set(
    members: Sequence[Adapter],
    topics: Topics,
    *,
    name: str,
    digest: str,
    rows: Sequence[Row],
    recipe: Recipe,
    numbers: TopicSettings,
) -> Adapter:
    """Write the record of a set beside its members, which are there and in the order of its topics; `rows` are those of
    all together, `digest` their `set_hash`.
    """
    adapters_dir = members[0].path.parent
    with draft_folder(adapters_dir / name) as draft:
        write_topics(draft, topics)
        final = adapters_dir / f"{name}@{adapter_hash(draft)}"
    with publish(final) as folder:
        write_topics(folder, topics)
        manifest = _summed(members) | {
            "name": final.name,
            "form": "topics",
            "version": VERSION,
            "recipe": asdict(recipe),
            "recipe_hash": digest,
            "rows_hash": rows_hash(rows),
            "grouping": asdict(numbers),
            "created_at": int(time.time()),
            "files": hash_files(folder),
        }
        (folder / MODEL_CARD).write_text(card_text(manifest), encoding="utf-8")
        write_manifest(folder, manifest)
    return load_adapter(final)


def _summed(members: Sequence[Adapter]) -> dict[str, Any]:
    """What the manifests of all members say together."""
    manifests = [read_manifest(member.path) for member in members]
    first = manifests[0]
    losses = [(one.final_loss, one.num_rows) for one in members if one.final_loss is not None]
    parities = [one.parity for one in members if one.parity is not None]
    return {
        **{key: first[key] for key in _SHARED if key in first},
        "chosen_among": [{"name": one.name, "num_rows": one.num_rows} for one in members],
        "num_rows": sum(one.num_rows for one in members),
        "num_dropped": sum(one.num_dropped for one in members),
        "num_tokens": sum(one.num_tokens for one in members),
        "num_steps": sum(one.get("num_steps", 0) for one in manifests),
        "training_s": sum(one.training_s for one in members),
        # As each row was seen.
        "final_loss": sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
        if losses
        else None,
        "parity": asdict(max(parities, key=lambda one: one.largest)) if len(parities) == len(members) else None,
        "energy": asdict(_energy([one.get("energy") for one in manifests])),
        "ended": "; ".join(f"{one.name}: {one.ended}" for one in members if one.ended),
    }


def _energy(found: Sequence[Mapping[str, Any] | None]) -> Energy:
    joules = [one["joules"] for one in found if one is not None and one["joules"] is not None]
    if len(joules) < len(found):
        return Energy(None, False, "unknown of some of its trainings")
    sources = dict.fromkeys(str(one["source"]) for one in found if one is not None)
    is_measured = all(one["is_measured"] for one in found if one is not None)
    return Energy(sum(joules), is_measured, f"the sum of {len(found)} trainings: {'; '.join(sources)}")
