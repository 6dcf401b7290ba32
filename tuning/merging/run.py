"""From adapters to one of their own: `merge_adapters`, which finds the adapter if the same was asked before.

adapter = merge_adapters(name="both", parents=[Parent(raft, 0.5), Parent(style, 0.5)], numbers=MergeSettings(),
                         base=base, rows=rows, adapters_dir=home / "adapters", most_rank=512)
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.folders import draft_folder, publish, sweep_drafts, write_manifest
from storage.hashes import content_hash, hash_files
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, adapter_hash, find_adapter, load_adapter, refuse_name, save_adapter
from tuning.export.gate import Parity, distance, open_gate
from tuning.export.opening import open_exported
from tuning.merging.arithmetic import delta, merged_layer
from tuning.merging.settings import SPARSE, MergeSettings
from tuning.methods.difference import PREFIX, Pairs, pairs_of, save_pairs

if TYPE_CHECKING:
    from tuning.export.gate import Gate

# Counted up when the same parents and numbers would give other weights than before.
VERSION = 1
_PACKAGES = ("torch", "transformers", "peft", "safetensors")
# Of the length of what `ties` and `dare` make: with more than this gone, it is no longer that.
_MOST_LOST = 0.05
# Of the squared lengths of the updates alone: a sum of less is rounding.
_NOTHING = 1e-10


@dataclass(frozen=True, slots=True)
class Parent:
    """An adapter, and how much of its update is taken: 1 is all of it, a negative number takes it away."""

    adapter: Adapter
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Sums:
    """The layers of a merge, and how much of them is lost: of its length, and of the logits on the gate's rows."""

    tensors: Mapping[str, Any]
    ranks: Mapping[str, int]
    loss: float
    logits: float


def merge_adapters(
    *,
    name: str,
    parents: Sequence[Parent],
    numbers: MergeSettings,
    base: ResolvedModel,
    rows: Sequence[Sequence[int]],
    adapters_dir: Path,
    most_rank: int,
) -> Adapter:
    """Add the parents' updates up, compare the logits on `rows` of token ids with those of the base whose weights they
    were added to, and publish. `most_rank` is what engines take.

    Raises TuningError for a faulty name, for parents that are not LoRAs of this base and chat template, for more than
    the rank allows, and where the logits differ.
    """
    refuse_name(name)
    _refuse_unfit(parents, numbers, base)
    digest = _digest(name, parents, numbers, base)
    sweep_drafts(adapters_dir)
    if (found := find_adapter(adapters_dir, name, digest)) is not None:
        return found
    started = time.monotonic()
    with draft_folder(adapters_dir / name) as draft:
        made = draft / "adapter"
        sums, parity = _merge(parents, numbers, base, rows, most_rank, made)
        final = adapters_dir / f"{name}@{adapter_hash(made)}"
        with publish(final) as folder:
            shutil.copytree(made, folder, dirs_exist_ok=True)
            manifest = _manifest(final.name, parents, numbers, base) | {
                "recipe_hash": digest,
                "parity": asdict(parity),
                "training_s": sum(one.adapter.training_s for one in parents) + time.monotonic() - started,
                "created_at": int(time.time()),
                "files": hash_files(folder),
            }
            manifest["merge"] |= {"loss": sums.loss, "logits_lost": sums.logits}
            write_manifest(folder, manifest)
    return load_adapter(final)


def _refuse_unfit(parents: Sequence[Parent], numbers: MergeSettings, base: ResolvedModel) -> None:
    names = [one.adapter.name for one in parents]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise TuningError(f"{twice!r} is merged twice; name it once, with the sum of its weights")
    if len(parents) < 2 and numbers.how in SPARSE:
        raise TuningError(f"{numbers.how} needs two adapters at least: of one it would only lose a part; take cat")
    template = parents[0].adapter.chat_template_hash
    for one, weight in ((parent.adapter, parent.weight) for parent in parents):
        if not math.isfinite(weight) or weight == 0:
            raise TuningError(f"the weight of {one.name!r} must be a number other than 0, not {weight:g}; leave it out")
        if one.form != "lora":
            raise TuningError(f"{one.name!r} cannot be merged: it is of the form {one.form}, and only LoRAs add up")
        if one.unserved:
            raise TuningError(f"{one.name!r} cannot be merged: it has {'; '.join(one.unserved)}, which no LoRA holds")
        if (one.base_name, one.base_revision) != (base.name, base.revision):
            raise TuningError(
                f"{one.name!r} was trained on {one.base_name} {one.base_revision}, not on {base.name} {base.revision} "
                f"as {names[0]!r}; train them on one base"
            )
        if one.chat_template_hash != template:
            raise TuningError(
                f"{one.name!r} was trained with chat template {one.chat_template_hash}, not {template} as "
                f"{names[0]!r}; train them with one"
            )


def _digest(name: str, parents: Sequence[Parent], numbers: MergeSettings, base: ResolvedModel) -> str:
    told = [(one.adapter.name, one.weight) for one in parents]
    return content_hash("merge", f"{VERSION}", name, base.name, base.revision, json.dumps([told, asdict(numbers)]))


def _merge(
    parents: Sequence[Parent],
    numbers: MergeSettings,
    base: ResolvedModel,
    rows: Sequence[Sequence[int]],
    most_rank: int,
    folder: Path,
) -> tuple[_Sums, Parity]:
    """Write the two files of an adapter to `folder`."""
    from peft import PeftModel

    from tuning.training.libraries import plain_memory_errors, quiet
    from tuning.training.loading import load_base

    def open_base() -> Any:
        return load_base(base.path, "float32", longest=max(map(len, rows)), is_exact=True)

    with quiet(), plain_memory_errors("end other programs, or merge where there is more"):
        plain, updates = open_base(), list[Pairs]()
        for parent in parents:
            tuned = PeftModel.from_pretrained(plain, str(parent.adapter.path))
            updates.append(pairs_of(tuned))
            plain = tuned.unload()
        sums, wanted = _add_up(parents, updates, numbers, plain, open_base, rows, most_rank)
        save_adapter(partial(save_pairs, sums.tensors, sums.ranks), folder, base)
        parity = wanted.measure(open_base, lambda fresh: open_exported("lora", fresh, folder, lambda _: None))
    if parity.effect == 0:
        raise TuningError("the merged adapters change no answer together; take other weights")
    if not parity.is_kept:
        raise TuningError(
            f"what was merged does not answer as the sum of the updates: logits differ by {parity.largest:.3g}, and "
            f"the updates moved them by {parity.effect:.3g}; nothing was published: train them with other numbers"
        )
    return sums, parity


def _add_up(
    parents: Sequence[Parent],
    updates: Sequence[Pairs],
    numbers: MergeSettings,
    plain: Any,
    open_base: Callable[[], Any],
    rows: Sequence[Sequence[int]],
    most_rank: int,
) -> tuple[_Sums, Gate]:
    """The sums, and the gate of the base whose weights they were added to, as far as they are kept; `plain` is changed
    to what they stand for.
    """
    import torch

    rank = numbers.rank
    if rank is None and numbers.how == "svd":
        rank = max(one.adapter.rank for one in parents)
    tensors, ranks = dict[str, torch.Tensor](), dict[str, int]()
    lost = length = alone = 0.0
    kept = None if numbers.how == "cat" else open_base()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(numbers.seed)
        for layer in sorted(set().union(*updates)):
            parts = [(one.weight, pairs[layer]) for one, pairs in zip(parents, updates, strict=True) if layer in pairs]
            made = merged_layer(parts, numbers, rank)
            name = layer.removeprefix(PREFIX)
            _change(plain.get_submodule(name), made.wanted)
            if kept is not None:
                _change(kept.get_submodule(name), made.b @ made.a)
            lost, length = lost + made.lost, length + float(made.wanted.square().sum())
            alone += sum(float((weight * delta(pair)).square().sum()) for weight, pair in parts)
            tensors |= {f"{layer}.lora_A.weight": made.a, f"{layer}.lora_B.weight": made.b}
            ranks[name] = len(made.a)
    if length <= _NOTHING * alone:
        raise TuningError("the merged adapters take each other away; take other weights")
    loss = math.sqrt(lost / length)
    widest = max(ranks.values())
    if widest > most_rank:
        way = "take svd, or parents of lower ranks" if numbers.how == "cat" else "lower the rank, or take svd"
        raise TuningError(f"merged by {numbers.how} the rank is {widest}, over the {most_rank} that vLLM serves; {way}")
    if numbers.how in SPARSE and loss > _MOST_LOST:
        raise TuningError(
            f"at rank {rank} what {numbers.how} makes loses {loss:.0%} of its length, and is no longer that: its own "
            "rank is that of the layers; leave the rank open, or take svd"
        )
    wanted = open_gate(plain, rows)
    gate = wanted if kept is None else open_gate(kept, rows)
    return _Sums(tensors, ranks, loss, distance(wanted, gate)), gate


def _change(layer: Any, update: Any) -> None:
    """Add an update, (out, in), to the weights of a linear layer, torch's or GPT-2's kind, which lies on its side."""
    layer.weight.data += (update.T if hasattr(layer, "nf") else update).to(layer.weight.dtype)


def _manifest(name: str, parents: Sequence[Parent], numbers: MergeSettings, base: ResolvedModel) -> dict[str, Any]:
    adapters = [one.adapter for one in parents]
    return {
        "name": name,
        "base_name": base.name,
        "base_revision": base.revision,
        "chat_template_hash": adapters[0].chat_template_hash,
        "method": "merge",
        "form": "lora",
        "objective": " and ".join(sorted({one.objective for one in adapters})),
        "merge": {
            **asdict(numbers),
            "density": numbers.kept if numbers.how in SPARSE else None,
            "parents": [
                {"name": one.adapter.name, "weight": one.weight, "files": hash_files(one.adapter.path)}
                for one in parents
            ],
        },
        "num_rows": sum(one.num_rows for one in adapters),
        "num_dropped": 0,
        "num_tokens": sum(one.num_tokens for one in adapters),
        "final_loss": None,
        "packages": {one: importlib.metadata.version(one) for one in _PACKAGES},
    }
