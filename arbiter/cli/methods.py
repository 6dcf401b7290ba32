"""What `arbiter tune --list` prints: the ways to train an adapter, what each would serve, objectives and optimizers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from arbiter.config.loading import load_config
from arbiter.console import Output, pad_table
from arbiter.models import GENERATOR, resolve_model
from eval.report.wording import as_size
from tuning.data.rows import KINDS
from tuning.methods.registry import METHODS, export_rank
from tuning.methods.size import served_bytes, shapes_of
from tuning.objectives.registry import OBJECTIVES
from tuning.optimizers.registry import OPTIMIZERS


def show_methods(path: Path | None, overrides: Sequence[str], home: Path) -> Output:
    """A text and a JSON value. Sizes are for a config's base model, or the embedded one; where it is not on this
    disk there are none.
    """
    name = load_config(path, list(overrides)).model if path is not None else GENERATOR
    base = resolve_model(name, home=home, fetch=False)
    shapes = shapes_of(base.path) if base.path else None
    rows, cells = [], []
    for method in METHODS.values():
        recipe = method.recipe()
        rank = export_rank(recipe)
        size = None if shapes is None else served_bytes(shapes, recipe)
        rate, obstacle = f"{recipe.usual_rate:g}", method.obstacle()
        rows.append(
            {
                "method": method.name,
                "title": method.title,
                "form": method.form,
                "served_rank": rank,
                "usual_rate": recipe.usual_rate,
                "bytes": size,
                "moves_base": method.moves_base,
                "base_quantization": method.quantization or None,
                "package": method.package or None,
                "obstacle": obstacle,
                "paper": method.paper,
            }
        )
        shown = "-" if size is None else as_size(size)
        meaning = method.title.partition(": ")[2]
        cells.append(
            (method.name, meaning, method.form, str(rank or "-"), shown, rate, obstacle or "yes", method.paper)
        )
    head = ("method", "what it is", "served as", "rank", "size", "rate", "trains here", "paper")
    objectives, objective_rows = _objectives()
    optimizers, optimizer_rows = _optimizers()
    text = (
        f"{pad_table(head, cells)}\n\nRank and size with each method's own defaults, for {base.name}. "
        "Rate is the usual learning_rate, for batches of 4. "
        "Choose one with adapters.NAME.method=METHOD. What is merged or beside has an engine of its own.\n\n"
        f"{objectives}\n\nThe rate is a multiple of the method's. Choose one with "
        "adapters.NAME.objective=OBJECTIVE, or '{name: OBJECTIVE, NUMBER: VALUE}'.\n\n"
        f"{optimizers}\n\nState is what is kept for each trained number, here of a matrix of 256 x 256. The rate is a "
        "multiple of learning_rate. Choose one with adapters.NAME.optimizer=OPTIMIZER."
    )
    return text, {"base": base.name, "methods": rows, "objectives": objective_rows, "optimizers": optimizer_rows}


def _objectives() -> tuple[str, list[dict[str, object]]]:
    """A table, and a row of each."""
    rows: list[dict[str, object]] = []
    cells = []
    for objective in OBJECTIVES.values():
        usual = objective.settings()
        numbers = {name: value for name, value in asdict(usual).items() if name != "name"}
        rows.append(
            {
                "objective": objective.name,
                "title": objective.title,
                "learns": KINDS[objective.row],
                "rate_factor": usual.rate_factor,
                "numbers": numbers,
                "has_reference": objective.has_reference,
                "paper": objective.paper,
            }
        )
        meaning = objective.title.partition(": ")[2]
        shown = ", ".join(f"{name} {_as_set(value)}" for name, value in numbers.items()) or "-"
        cells.append(
            (objective.name, meaning, KINDS[objective.row], f"x {usual.rate_factor:g}", shown, objective.paper)
        )
    return pad_table(("objective", "what it is", "learns from", "rate", "numbers", "paper"), cells), rows


def _as_set(value: object) -> str:
    """A number as a person writes it, anything else as YAML has it."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value)


def _optimizers() -> tuple[str, list[dict[str, object]]]:
    """A table, and a row of each."""
    rows: list[dict[str, object]] = []
    cells = []
    for optimizer in OPTIMIZERS.values():
        obstacle = optimizer.obstacle()
        rows.append(
            {
                "optimizer": optimizer.name,
                "title": optimizer.title,
                "state_bytes": optimizer.state_bytes,
                "rate_factor": optimizer.rate_factor,
                "package": optimizer.package or None,
                "obstacle": obstacle,
                "paper": optimizer.paper,
            }
        )
        meaning = optimizer.title.partition(": ")[2]
        state, factor = f"{optimizer.state_bytes:g} bytes", f"x {optimizer.rate_factor:g}"
        cells.append((optimizer.name, meaning, state, factor, obstacle or "yes", optimizer.paper))
    return pad_table(("optimizer", "what it is", "state", "rate", "trains here", "paper"), cells), rows
