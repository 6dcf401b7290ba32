"""The training run itself: what is loaded, prepared, trained, looked at, exported and compared.

Only tuning/training/run.py calls `train`. Importing this module imports torch, transformers, peft and trl.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import set_seed

from tuning.base import ResolvedModel
from tuning.data.rows import Row
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, load_adapter, save_adapter
from tuning.export.gate import open_gate
from tuning.export.opening import open_exported
from tuning.look import Look, Measured, Published
from tuning.methods.qlora import dequantized
from tuning.methods.registry import METHODS, obstacle
from tuning.methods.size import shapes_of
from tuning.objectives.objective import Batch
from tuning.objectives.registry import OBJECTIVES
from tuning.recipe import CheckRows, Occasion, Prepared, Recipe, Teacher, Worth, known
from tuning.training.batches import Plan, make_plan
from tuning.training.drawing import Drawer, open_drawer
from tuning.training.forecast import foretell_export
from tuning.training.lessons import Lessons, open_lessons, refuse_other_tokens
from tuning.training.libraries import package_versions, plain_memory_errors, quiet
from tuning.training.loading import choose_precision, device, load_base, load_tokenizer
from tuning.training.looking import open_checks
from tuning.training.looks import Looks
from tuning.training.measuring import padded
from tuning.training.memory import memory_limit, peak_bytes
from tuning.training.objective_trainer import open_trainer
from tuning.training.progress import Forecast, TrainProgress
from tuning.training.reading import Beginning
from tuning.training.start import load_start, merged_start
from tuning.training.watch import LOSS_WINDOW, Watch, last_checkpoint
from tuning.training.weights import load_trained, refuse_unfit_mean

# Rows that the exported adapter is compared on.
_GATE_ROWS = 4


def train(
    *,
    base: ResolvedModel,
    rows: Sequence[Row],
    recipe: Recipe,
    folder: Path,
    progress: Callable[[TrainProgress], None],
    checkpoint_every_s: float,
    started: float,
    dev: CheckRows | None = None,
    guard: CheckRows | None = None,
    held_out: CheckRows | None = None,
    worth: Worth | None = None,
    teacher: Teacher | None = None,
    start: Adapter | None = None,
    reading: Callable[[int, int], None] = lambda _done, _total: None,
    foretold: Callable[[Forecast], None] = lambda _: None,
    only_foretells: bool = False,
) -> dict[str, object]:
    """Train in `folder`, from its last complete checkpoint if there is one, and export the adapter to `folder`/adapter.

    Gives what was measured, as the adapter's manifest tells it. `started` is the `time.monotonic()` from which
    `training_s` counts; the seconds up to a checkpoint count too. With `dev` rows, and perhaps `guard` rows, the
    training is looked at while it goes on, as the recipe says; `held_out` pairs are ranked before and after; answers
    that are drawn are rewarded by `worth`, or `teacher` tells how likely it finds their tokens. It begins with the
    weights of `start`, if there is one. What is compared with the beginning is read then, and `reading` told how many
    texts were. `foretold` is told before the first step what the training will take; with `only_foretells` it must end
    it, and the texts are not read.
    """
    if reason := obstacle(recipe):
        raise TuningError(reason)
    method = METHODS[recipe.method]
    with quiet(), plain_memory_errors(_remedy(recipe)), memory_limit():
        tokenizer = load_tokenizer(base.path)
        plan = make_plan(tokenizer, rows, recipe)
        precision = choose_precision()
        if teacher is not None and not only_foretells:
            refuse_other_tokens(teacher, tokenizer, plan.rows)

        def open_whole(path: str) -> Any:
            return load_base(path, precision, longest=plan.longest, is_exact=method.moves_base)

        def open_base(path: str) -> Any:
            if not method.quantization:
                return open_whole(path)
            return load_base(path, precision, longest=plan.longest, quantization=method.quantization)

        def open_plain() -> Any:
            plain = open_base(base.path)
            return dequantized(plain) if method.quantization else plain

        def open_judge(path: Path) -> Any:
            return open_exported(load_adapter(path).form, open_whole(base.path), path, open_whole).to(device())

        packages, padding = package_versions(recipe), tokenizer.pad_token_id or 0
        checks = open_checks(tokenizer, recipe, precision, dev=dev, guard=guard, held_out=held_out)
        compared = plan.texts if OBJECTIVES[recipe.objective.name].has_reference else []
        beginning = Beginning(
            texts=[*compared, *checks.texts],
            path=folder / "beginning.pt",
            precision=precision,
            packages=packages,
            padding=padding,
            told=reading,
            save_every_s=checkpoint_every_s,
            only_foretells=only_foretells,
        )
        prepared = _prepare(open_base, base, recipe, plan, start, padding, beginning)
        if compared:
            plan = plan.with_reference(beginning.sums[: len(compared)])
        checks.before = beginning.sums[len(compared) :]
        checkpoint = last_checkpoint(folder, packages)
        elapsed_s = checkpoint.elapsed_s if checkpoint is not None else 0.0
        looks = None
        if dev is not None and plan.num_steps:
            refuse_unfit_mean(prepared, recipe)
            looks = Looks(
                recipe=recipe,
                folder=folder,
                steps_per_epoch=len(plan.rows) / known(recipe.batch_size),
                num_steps=plan.num_steps,
                measure=checks.measure,
            )
            if checkpoint is not None and checkpoint.looks is not None:
                looks.restore(checkpoint.looks)
        drawer: Drawer | Lessons | None = open_drawer(
            prepared, recipe, plan.rows, tokenizer, precision, worth, open_judge
        )
        if teacher is not None:
            drawer = open_lessons(prepared, recipe, plan.rows, tokenizer, precision, teacher)
        watch = Watch(
            num_tokens=plan.num_tokens,
            progress=progress,
            checkpoint_every_s=checkpoint_every_s,
            started=started - elapsed_s,
            looks=looks,
            packages=packages,
            learning_rate=known(recipe.learning_rate),
            on_step=prepared.on_step,
        )
        history, is_shared = list[dict[str, float]](), False
        if plan.num_steps:
            with open_trainer(
                plan,
                prepared,
                recipe,
                tokenizer=tokenizer,
                folder=folder,
                precision=precision,
                watch=watch,
                drawer=drawer,
            ) as trainer:
                forecast = trainer.foretell(plan, recipe, first_step=checkpoint.step if checkpoint is not None else 0)
                forecast = replace(forecast, seconds=forecast.seconds + beginning.left_s)
                foretold(forecast)
                assert not only_foretells
                if checkpoint is not None and looks is not None and looks.ended:
                    trainer.take_up(checkpoint.path)
                else:
                    trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint is not None else None)
                    trainer.optimizer.eval()  # an averaging one puts its mean in the weights' place
                trainer.unwrap()
            history, is_shared = trainer.state.log_history, trainer.shares_prefix
            del trainer
        else:
            forecast = foretell_export(prepared.model, seconds=time.monotonic() - started)
            foretold(forecast)
            assert not only_foretells
        looked = {} if looks is None else _take_chosen(looks, prepared)
        if drawer is not None:
            looked |= drawer.shown(history)
            drawer.close()
        if (preference := checks.preference(prepared.model)) is not None:
            looked["preference"] = asdict(preference)
        peak = peak_bytes()
        gate = open_gate(prepared.model, [row.input_ids for row in plan.rows[:_GATE_ROWS]])
        save_adapter(partial(method.export, prepared, recipe), folder / "adapter", base, method.form)
        if method.measure is not None:
            exported = folder / "adapter"
            looked["compression"] = asdict(method.measure(exported, shapes_of(str(exported)), recipe))
        curve = [loss for entry in history if math.isfinite(loss := entry.get("loss", math.nan))]
        # The base model and its activations are not needed while an engine starts beside this process.
        del prepared, watch, drawer
        gc.collect()
        parity = gate.check(
            open_plain,
            lambda plain: open_exported(method.form, plain, folder / "adapter", open_whole),
            name=recipe.method,
        )
    return {
        "num_rows": len(plan.rows),
        "num_dropped": plan.num_dropped,
        "num_tokens": sum(plan.num_tokens),
        "num_steps": len(curve),
        "training_s": time.monotonic() - started + elapsed_s,
        "loss_curve": curve,
        "final_loss": statistics.fmean(curve[-LOSS_WINDOW:]) if curve else None,
        "precision": precision,
        "shares_prefix": is_shared,
        "parity": asdict(parity),
        "forecast": asdict(forecast),
        "peak_memory_bytes": peak,
        **looked,
        "device": device(),
    }


def _remedy(recipe: Recipe) -> str:
    """What takes less memory."""
    remedy = f"lower max_length ({recipe.max_length})"
    if not recipe.finer_parts:
        return remedy
    return f"raise accumulate to {recipe.finer_parts[0]}, which changes nothing else, or {remedy}"


def _prepare(
    open_base: Callable[[str], Any],
    base: ResolvedModel,
    recipe: Recipe,
    plan: Plan,
    start: Adapter | None,
    padding: int,
    beginning: Beginning,
) -> Prepared:
    """The model with what its method trains in place, as `start` has it if there is one; `beginning` is read with what
    that is trained from, before anything of the method is there: a method may begin with something else.
    """

    def first_batches(size: int, count: int) -> list[Batch]:
        order = plan.order or range(len(plan.rows))
        starts = range(0, min(len(order), size * count), size)
        groups = ([plan.rows[place] for place in order[begin : begin + size]] for begin in starts)
        return [padded([row.texts[0] for row in rows], padding, device()) for rows in groups]

    plain = open_base(str(start.path) if start is not None and start.form == "merged" else base.path)
    if start is not None and start.form == "lora" and METHODS[recipe.method].merges_start:
        plain, start = merged_start(plain, start), None
    is_continued = start is not None and start.form == "lora"
    if not is_continued:
        beginning.read(plain)
    set_seed(recipe.seed % 2**32)  # as numpy takes it; a method draws its first weights at random
    prepared = METHODS[recipe.method].prepare(plain, recipe, Occasion(batches=first_batches, num_steps=plan.num_steps))
    if start is not None and is_continued:
        load_start(prepared, start)
        beginning.read(prepared.model)
    assert (prepared.optimizer is not None) == recipe.own_optimizer
    assert (prepared.on_step is not None) == recipe.acts_after_steps
    return prepared


def _take_chosen(looks: Looks, prepared: Prepared) -> dict[str, object]:
    """Put the weights to publish into the model; gives what the manifest tells of the looks."""
    chosen = looks.chosen()
    if chosen:
        load_trained(prepared, *map(looks.weights_of, chosen))
    shown: Look | Measured = chosen[0] if chosen else looks.taken[-1]
    if len(chosen) > 1:
        shown = looks.measure(prepared.model)
        looks.refuse_bad_mean(shown)
    steps = tuple(look.step for look in chosen or looks.taken[-1:])
    return {
        "looks": [asdict(look) for look in looks.taken],
        "published": asdict(Published(steps, shown.score, shown.loss, shown.guard)),
        "ended": looks.ended,
    }
