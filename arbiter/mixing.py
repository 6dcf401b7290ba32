"""Training rows of other data folders among an adapter's own: an earlier folder's, so that a further training does not
forget it, or those of other tasks.

mixed, notes = load_mixed(config, data)
mixed["support"]      # with mix: {support: {../march: 0.2}} a fifth of all rows that it learns
scaled(mixed, 0.5, seed=0)["support"]         beside half of its own rows
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from arbiter.config.schema import Config
from arbiter.data import Data, find_folder
from eval.repeats import find_exact_repeats, find_near_repeats
from storage.errors import ArbiterError
from tuning.data.examples import Question, learned_rows, load_examples, sample
from tuning.data.layouts import find_part, only_rows


def load_mixed(config: Config, data: Data) -> tuple[Mapping[str, tuple[Question, ...]], tuple[str, ...]]:
    """The rows that are mixed into those of each adapter, by its key, and what was done, a line each.

    So many that they have their share of all; the same ones for the same seed, all where there are too few. Rows that
    ask what the data asks are left out. Raises ArbiterError for a folder without training rows, and for faulty ones.
    """
    mixed: dict[str, tuple[Question, ...]] = {}
    notes: list[str] = []
    for key, shares in config.mix.items():
        own = len(data.examples) / (1 - sum(shares.values()))
        rows: list[Question] = []
        for folder, share in shares.items():
            found = _rows_of(Path(folder), config, data, notes)
            wanted = round(own * share)
            some = sample(found, wanted, config.seed)
            rows += some
            short = f", all that there are of {wanted}" if len(some) < wanted else ""
            notes.append(f"mix.{key}: {len(some)} rows of {Path(folder).name}{short}")
        mixed[key] = tuple(rows)
    return mixed, tuple(notes)


def scaled(mixed: Mapping[str, tuple[Question, ...]], share: float, *, seed: int) -> Mapping[str, tuple[Question, ...]]:
    """This share of the rows that are mixed in, of each folder, so that beside as large a part of an adapter's own they
    stay as many of all. Fewer are part of more, in their own order.
    """
    kept: dict[str, tuple[Question, ...]] = {}
    for key, rows in mixed.items():
        by_folder: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            by_folder.setdefault(row.id.partition(":")[0], []).append(place)
        drawn = list[int]()
        for places in by_folder.values():
            order = random.Random(seed).sample(places, len(places))
            drawn += order[: round(share * len(places))]
        kept[key] = tuple(rows[place] for place in sorted(drawn))
    return kept


def _rows_of(folder: Path, config: Config, data: Data, notes: list[str]) -> list[Question]:
    folder = find_folder(folder)
    path = find_part(folder, "train") or find_part(folder, "questions") or only_rows(folder)
    if path is None:
        raise ArbiterError(f"mix: {str(folder)!r} has no training rows (train.jsonl); add them, or take it out")
    rows = learned_rows(load_examples(path, config.limits.columns, say=notes.append))
    # An id says of two folders which row is meant.
    rows = tuple(replace(row, id=f"{folder.name}:{row.id}") for row in rows)
    asked = (*data.questions, *data.dev, *data.guard)
    given_away = set(find_exact_repeats(rows, asked))
    if config.limits.near_repeats == "drop":
        given_away |= set(find_near_repeats(rows, asked))
    if given_away:
        notes.append(f"{len(given_away)} rows of {folder.name} that ask what is evaluated are not mixed in")
    return [row for row in rows if row.id not in given_away]
