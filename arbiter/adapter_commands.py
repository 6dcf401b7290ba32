"""What `arbiter merge` and `arbiter export` do: adapters of the data directory, outside of any run.

text, row = merge(["raft:0.5", "style@3f9c01ab:0.5"], "both", MergeSettings(), home=data_home(), console=Console())
text, row = export("both", Path("out"), ExportSettings(format="gguf"), home=data_home(), console=Console())
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from arbiter.console import Console, Output
from arbiter.models import resolve_model
from serving.engine.settings import LARGEST_RANK
from storage.errors import ArbiterError
from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.data.examples import load_examples
from tuning.data.layouts import find_part
from tuning.errors import TuningError
from tuning.exchange.export import export_adapter
from tuning.exchange.settings import ExportSettings
from tuning.export.adapters import Adapter, open_adapter
from tuning.merging.run import Parent, merge_adapters
from tuning.merging.settings import MergeSettings

# So many training rows of each adapter, and tokens of each, are what the gate compares logits on.
_ROWS, _TOKENS = 4, 512
# Where the data that an adapter was trained on is gone.
_ELSE = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Name three colours.", "Red, green and blue."),
    ("How many days has a week?", "A week has seven days."),
)

Conversation = Sequence[Mapping[str, object]]


def merge(words: Sequence[str], name: str, numbers: MergeSettings, *, home: Path, console: Console) -> Output:
    """A new adapter of others, each given as ADAPTER or ADAPTER:WEIGHT. Raises ArbiterError if they do not add up."""
    adapters_dir = home / "adapters"
    parents = [_parent(adapters_dir, word) for word in words]
    first = parents[0].adapter
    base = _base_of(first, home, console)
    rows, told = _rows([one.adapter for one in parents], base)
    with console.step(f"merging {len(parents)} adapters on {base.name}"):
        made = merge_adapters(
            name=name,
            parents=parents,
            numbers=numbers,
            base=base,
            rows=rows,
            adapters_dir=adapters_dir,
            most_rank=LARGEST_RANK,
        )
    manifest = read_manifest(made.path)
    found = manifest["merge"]
    sums = " + ".join(f"{one['weight']:g} x {one['name']}" for one in found["parents"])
    exact = "the sum is exact" if found["how"] == "cat" else f"it loses {found['loss']:.2%} of the update's length"
    lost = f", {found['logits_lost']:.3g} of a logit" if found["how"] != "cat" else ""
    assert made.parity is not None
    moved = (
        f"compared on {len(rows)} {told}: logits differ by {made.parity.largest:.2g}, moved by {made.parity.effect:.2g}"
    )
    text = f"{made.name}: {sums}, by {found['how']} at rank {made.rank}; {exact}{lost}; {moved}\n{made.path}"
    row = {"name": made.name, "path": str(made.path), "rank": made.rank, "merge": found, "parity": manifest["parity"]}
    return text, row


def export(name: str, target: Path, numbers: ExportSettings, *, home: Path, console: Console) -> Output:
    """Write an adapter for another program. Raises ArbiterError for what cannot be written so."""
    adapter = open_adapter(home / "adapters", name)
    base = _base_of(adapter, home, console)
    rows, told = _rows([adapter], base)
    with console.step(f"writing {adapter.name} as {numbers.format} to {target}"):
        manifest = export_adapter(adapter, base, target, numbers, rows)
    parity = manifest["parity"]
    compared = "its architecture cannot be read again here; what was converted was compared"
    if parity is not None:
        off, moved = f"{parity['largest']:.2g}", f"{parity['effect']:.2g}"
        compared = f"logits on {len(rows)} {told} differ by {off}, training moved them by {moved}"
    return f"{adapter.name} as {numbers.format}: {compared}\n{target}", manifest | {"path": str(target)}


def _parent(adapters_dir: Path, word: str) -> Parent:
    name, colon, weight = word.partition(":")
    try:
        number = float(weight) if colon else 1.0
    except ValueError as error:
        raise TuningError(f"{word!r}: the weight must be a number, not {weight!r}; write ADAPTER:0.5") from error
    return Parent(open_adapter(adapters_dir, name), number)


def _base_of(adapter: Adapter, home: Path, console: Console) -> ResolvedModel:
    return resolve_model(adapter.base_name, home=home, revision=adapter.base_revision, progress=console.say)


def _rows(adapters: Iterable[Adapter], base: ResolvedModel) -> tuple[list[list[int]], str]:
    """Token ids of the first rows that each adapter was trained on, as far as they are there; and what they are."""
    from tuning.training.libraries import quiet
    from tuning.training.loading import load_tokenizer

    with quiet():
        tokenizer = load_tokenizer(base.path)
        if trained := _ids(tokenizer, (one for adapter in adapters for one in _conversations(adapter.path))):
            return trained, "training rows"
        given = [[_said("user", question), _said("assistant", answer)] for question, answer in _ELSE]
        rows = _ids(tokenizer, given) or [tokenizer(" ".join(pair))["input_ids"] for pair in _ELSE]
    return rows, "prompts (the training rows are gone)"


def _conversations(path: Path) -> list[Conversation]:
    """Of what an adapter was trained on, or its parents were."""
    with contextlib.suppress(ArbiterError, OSError):
        manifest: Any = read_manifest(path)
        if "merge" in manifest:
            parents = (path.with_name(one["name"]) for one in manifest["merge"]["parents"])
            return [one for parent in parents for one in _conversations(parent)]
        data = (manifest.get("provenance") or {}).get("data")
        if data and (file := find_part(Path(data), "train")) is not None:
            return [[*map(dict, one.messages), _said("assistant", one.answer)] for one in load_examples(file)[:_ROWS]]
    return []


def _ids(tokenizer: Any, conversations: Iterable[Conversation]) -> list[list[int]]:
    """Of those that the chat template takes."""
    found = []
    for one in conversations:
        with contextlib.suppress(TemplateError):
            found.append(tokenizer.apply_chat_template(list(one), return_dict=True)["input_ids"][:_TOKENS])
    return found


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
