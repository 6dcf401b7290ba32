"""What `arbiter tune --list` prints: the ways to train an adapter, and what each would serve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arbiter.config.loading import load_config
from arbiter.console import Output, pad_table
from arbiter.models import GENERATOR, resolve_model
from tuning.methods.registry import METHODS
from tuning.methods.size import served_bytes, shapes_of


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
        rank = method.export_rank(recipe)
        size = None if shapes is None else served_bytes(shapes, recipe)
        rows.append(
            {
                "method": method.name,
                "title": method.title,
                "form": method.form,
                "served_rank": rank,
                "bytes": size,
                "moves_base": method.moves_base,
                "paper": method.paper,
            }
        )
        shown = "-" if size is None else f"{size / 1e6:.1f} MB"
        meaning = method.title.partition(": ")[2]
        cells.append((method.name, meaning, method.form, str(rank or "-"), shown, method.paper))
    head = ("method", "what it is", "served as", "rank", "size", "paper")
    text = (
        f"{pad_table(head, cells)}\n\nRank and size with each method's own defaults, for {base.name}. "
        "Choose one with adapters.NAME.method=METHOD. What is merged or beside has an engine of its own."
    )
    return text, {"base": base.name, "methods": rows}
