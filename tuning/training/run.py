"""From rows to a published adapter: `train_adapter`, which finds the adapter if the same was asked before.

adapter = train_adapter(base=resolve_model(name, home=home), rows=rows, recipe=LoraRecipe(epochs=2),
                     name="raft", adapters_dir=home / "adapters", work_dir=home / "training", provenance={})
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from storage.files import hold_lock, refuse_full_disk
from storage.folders import is_complete, publish, read_manifest, sweep_drafts, write_manifest
from storage.hashes import content_hash, hash_files
from tuning.automatic import settled
from tuning.base import MODEL_CARD, ResolvedModel
from tuning.data.rows import KINDS, PairRow, Row
from tuning.data.topics import TopicSettings
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, adapter_hash, find_adapter, load_adapter, refuse_name
from tuning.export.admission import chat_template_hash
from tuning.export.model_card import card_text, license_of
from tuning.methods.registry import METHODS
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.supervised import Supervised
from tuning.recipe import CheckRows, Recipe, Teacher, Worth
from tuning.training.energy import EnergyMeter
from tuning.training.progress import Forecast, TrainProgress
from tuning.training.start import find_start, settle

# Counted up when the same recipe and rows would give other weights than before: old adapters are then not found again.
VERSION = 6


def recipe_hash(
    *,
    base: ResolvedModel,
    chat_template: str,
    rows: Sequence[Row],
    recipe: Recipe,
    checks: Sequence[CheckRows] = (),
    held_out: CheckRows | None = None,
    worth: Worth | None = None,
    teacher: Teacher | None = None,
) -> str:
    """64 hex digits over all that decides the weights but the machine, and over the pairs that are measured, which a
    manifest tells of; `chat_template` is the template's hash.
    """
    numbers = asdict(settled(recipe, len(rows)))
    if recipe.objective == Supervised():  # adapters from before there was another one are found
        del numbers["objective"]
    names = (base.name, base.revision, chat_template, recipe.objective.name)
    checked = [part for one in checks for part in (one.metric, rows_hash(one.rows))]
    checked += ["held out", rows_hash(held_out.rows)] if held_out is not None else []
    checked += ["worth", worth.name] if worth is not None else []
    checked += ["teacher", teacher.name] if teacher is not None else []
    return content_hash(f"{VERSION}", *names, rows_hash(rows), json.dumps(numbers, sort_keys=True), *checked)


def rows_hash(rows: Sequence[Row]) -> str:
    """64 hex digits over rows and their order."""
    return content_hash(*(json.dumps(row.content, sort_keys=True) for row in rows))


class _Enough(Exception):  # no error: it ends a training that was only to be foretold, or found
    def __init__(self, forecast: Forecast | None = None) -> None:
        super().__init__()
        self.forecast = forecast


def forecast_training(**given: Any) -> Forecast | None:
    """What `train_adapter` would take with the same arguments, from its last checkpoint if there is one; None where the
    adapter exists. Raises TuningError as it does.
    """

    def enough(forecast: Forecast) -> None:
        raise _Enough(forecast)

    try:
        train_adapter(**given, foretold=enough, only_foretells=True)
    except _Enough as found:
        return found.forecast
    return None


def find_trained(**given: Any) -> Adapter | None:
    """The adapter that `train_adapter` finds with the same arguments; None where it would train."""

    def enough() -> None:
        raise _Enough

    try:
        return train_adapter(**given, starting=enough)
    except _Enough:
        return None


def find_alike(
    adapters_dir: Path,
    name: str,
    *,
    base: ResolvedModel,
    recipe: Recipe,
    num_rows: int,
    rows: str = "",
    topics: TopicSettings | None = None,
) -> str | None:
    """The full name of an adapter of a settled recipe, on this base and so many rows: those of the hash `rows`, if that
    is known; with `topics` that of a set. What it was looked at with is not compared, nor a set's embedder.
    """
    wanted: dict[str, object] = {
        "version": VERSION,
        "base_name": base.name,
        "base_revision": base.revision,
        "recipe": json.loads(json.dumps(asdict(recipe))),
    }
    if rows:
        wanted["rows_hash"] = rows
    for path in sorted(adapters_dir.glob(f"{name}@*")):
        manifest = read_manifest(path) if is_complete(path) else {}
        counted = manifest.get("num_rows", 0) + manifest.get("num_dropped", 0)
        if manifest.get("grouping") != (None if topics is None else asdict(topics)):
            continue
        if counted == num_rows and all(manifest.get(key) == value for key, value in wanted.items()):
            return path.name
    return None


def refuse_rows(rows: Sequence[Row], recipe: Recipe) -> None:
    """Raise TuningError for rows that the recipe's objective cannot learn: of another kind, or pairs of equal sides."""
    objective = OBJECTIVES[recipe.objective.name]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, objective.row):
            raise TuningError(
                f"objective {objective.name} learns from {KINDS[objective.row]}, and row {number} is none of them; "
                "give such rows, or choose another objective"
            )
        if isinstance(row, PairRow) and row.chosen.strip() == row.rejected.strip():
            raise TuningError(f"pair {number} has the same answer on both sides, {row.chosen[:40]!r}; take it out")


def train_adapter(
    *,
    base: ResolvedModel,
    rows: Sequence[Row],
    recipe: Recipe,
    name: str,
    adapters_dir: Path,
    work_dir: Path,
    provenance: Mapping[str, object],
    progress: Callable[[TrainProgress], None] = lambda _: None,
    checkpoint_every_s: float = 20.0,
    dev: CheckRows | None = None,
    guard: CheckRows | None = None,
    held_out: CheckRows | None = None,
    worth: Worth | None = None,
    teacher: Teacher | None = None,
    starting: Callable[[], None] = lambda: None,
    reading: Callable[[int, int], None] = lambda _done, _total: None,
    foretold: Callable[[Forecast], None] = lambda _: None,
    only_foretells: bool = False,
    power_w: float | None = None,
) -> Adapter:
    """The adapter that the recipe makes of the rows; the one that exists already if this was asked before.

    Numbers that the recipe leaves open follow from the rows (tuning/automatic.py). Checkpoints are kept in
    `work_dir/<recipe hash>` until the adapter is published, so the same call after a kill goes on from the last one,
    with the same order of rows. With `dev` rows, of the objective's kind, the training is looked at, and a recipe with
    looks needs them; the score of `guard`, which holds examples, must not fall then. Of `held_out` pairs the manifest
    tells how they are ranked before and after. An objective whose answers are rewarded needs `worth`, and one that is
    taught needs `teacher`. `starting` is called where there is no such adapter, before anything is loaded;
    `reading(done, total)` while texts are read that are compared with the beginning; `foretold` before the first step,
    and with `only_foretells` it is to end the training. `power_w` is what the machine draws, where its processors do
    not count it. Raises TuningError for faulty input, a base model that cannot be loaded, rows that are all too long, a
    loss that diverges, looks that are all too bad to publish, too little memory, a full disk, and when another process
    is training the same adapter.
    """
    refuse_name(name)
    if not rows:
        raise TuningError(f"no rows to train adapter {name!r} on; give at least one example")
    refuse_rows(rows, recipe)
    if recipe.has_looks and (dev is None or not dev.rows):
        raise TuningError(
            f"adapter {name!r} is looked at while it trains (keep, patience), and there are no dev rows; add "
            "dev.jsonl, or set keep to last and patience to 0"
        )
    if OBJECTIVES[recipe.objective.name].drawing is not None and worth is None:
        raise TuningError(
            f"objective {recipe.objective.name} learns from what answers are worth, and nothing says it; set "
            "objective.reward to an adapter with objective reward, or evaluate by a metric that needs no judge"
        )
    if OBJECTIVES[recipe.objective.name].is_taught and teacher is None:
        raise TuningError(
            f"objective {recipe.objective.name} learns from a teacher, and there is none; set distill.teacher.url and "
            "distill.teacher.model"
        )
    recipe = settle(recipe, len(rows), adapters_dir)
    is_looked_at = dev is not None and bool(dev.rows)
    dev, guard = (one if is_looked_at and one is not None and one.rows else None for one in (dev, guard))
    checks = [one for one in (dev, guard) if one is not None]
    started = time.monotonic()
    template = chat_template_hash(base.path)
    worth = worth if OBJECTIVES[recipe.objective.name].drawing is not None else None
    teacher = teacher if OBJECTIVES[recipe.objective.name].is_taught else None
    hashed: dict[str, Any] = {"checks": checks, "held_out": held_out, "worth": worth, "teacher": teacher}
    digest = recipe_hash(base=base, chat_template=template, rows=rows, recipe=recipe, **hashed)
    workplace = work_dir / digest[:16]
    busy = TuningError(
        f"adapter {name!r} is being trained by another process; wait for it, or stop it and run this again"
    )
    with refuse_full_disk(workplace), hold_lock(workplace / "lock", busy=busy):
        sweep_drafts(adapters_dir)
        found = find_adapter(adapters_dir, name, digest)
        if found is None:
            starting()
            start = find_start(recipe, base, adapters_dir, template)
            from tuning.training.libraries import package_versions
            from tuning.training.memory import give_back
            from tuning.training.trainer import train

            meter = EnergyMeter(power_w)

            def told(now: TrainProgress) -> None:
                meter.read()
                progress(now)

            measured = train(
                base=base,
                rows=rows,
                recipe=recipe,
                folder=workplace,
                progress=told,
                checkpoint_every_s=checkpoint_every_s,
                started=started,
                dev=dev,
                guard=guard,
                held_out=held_out,
                worth=worth,
                teacher=teacher,
                start=start,
                reading=reading,
                foretold=foretold,
                only_foretells=only_foretells,
            )
            energy = meter.used(float(str(measured["training_s"])), str(measured["device"]))
            give_back()
            trained = workplace / "adapter"
            final = adapters_dir / f"{name}@{adapter_hash(trained)}"
            with publish(final) as folder:
                shutil.copytree(trained, folder, dirs_exist_ok=True)
                manifest = {
                    "name": final.name,
                    "base_name": base.name,
                    "base_revision": base.revision,
                    "chat_template_hash": template,
                    "method": recipe.method,
                    "form": METHODS[recipe.method].form,
                    "base_quantization": METHODS[recipe.method].quantization,
                    "objective": recipe.objective.name,
                    "version": VERSION,
                    "recipe": asdict(recipe),
                    "recipe_hash": digest,
                    "rows_hash": rows_hash(rows),
                    **measured,
                    "energy": asdict(energy),
                    "base_license": license_of(base.path),
                    "packages": package_versions(recipe),
                    "provenance": dict(provenance),
                    "created_at": int(time.time()),
                    "files": hash_files(folder),
                }
                (folder / MODEL_CARD).write_text(card_text(manifest), encoding="utf-8")
                write_manifest(folder, manifest)
            found = load_adapter(final)
        shutil.rmtree(workplace, ignore_errors=True)
    return found
