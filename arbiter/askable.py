"""Which arms of a config can be asked of a data folder, and which are left out for want of a part of it.

config, notes = askable_arms(config, data)
"""

from __future__ import annotations

from arbiter.config import ArmConfig, Config
from arbiter.data import Data
from storage.errors import ArbiterError

_PARTS = {"documents": "documents (docs.jsonl, docs/ or docs.zip)", "examples": "training rows (train.jsonl)"}


def needs_examples(config: Config) -> bool:
    """Whether some arm is trained on examples or retrieves them."""
    return any("examples" in _needs(config, arm) for arm in config.arms.values())


def askable_arms(config: Config, data: Data) -> tuple[Config, tuple[str, ...]]:
    """The config without the arms that need a part which the data lacks, and a note for each such part.

    Raises ArbiterError when no arm is left.
    """
    lacks = [part for part, rows in (("documents", data.documents), ("examples", data.examples)) if not rows]
    kept = {name: arm for name, arm in config.arms.items() if not _needs(config, arm).intersection(lacks)}
    notes = []
    for part in lacks:
        names = [name for name, arm in config.arms.items() if part in _needs(config, arm)]
        if names:
            notes.append(f"no {_PARTS[part]}, so these arms are left out: {', '.join(names)}")
    if not kept:
        raise ArbiterError(f"data folder {str(data.folder)!r}: no arm can be asked: {'; '.join(notes)}")
    return config.model_copy(update={"arms": kept}), tuple(notes)


def _needs(config: Config, arm: ArmConfig) -> set[str]:
    """The parts of a data folder that an arm cannot do without."""
    needs: set[str] = {arm.index} if arm.index is not None else set()
    if arm.adapter is not None:
        needs.add("examples")
        if config.adapters[arm.adapter].passages:
            needs.add("documents")
    return needs
