"""Trained adapters on disk: `adapters/<name>@<hash>/` with weights, PEFT's configuration and a manifest, never changed.

adapter = load_adapter(home / "adapters" / "support@3f9c01ab")
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from storage.errors import listed
from storage.folders import MANIFEST, is_complete, read_manifest
from storage.hashes import content_hash, hash_files
from storage.records import from_row
from tuning.base import CONFIG, MODEL_CARD, WEIGHTS, ResolvedModel
from tuning.errors import TuningError
from tuning.export.gate import Parity
from tuning.export.topics import TOPICS, Topics, read_topics
from tuning.look import Compression, Drawn, Look, Preference, Published
from tuning.methods.lora import NO_TARGETS
from tuning.recipe import OWN_ENGINE, Form

MODEL_CONFIG = "config.json"
# What an adapter of each form cannot be without.
_FILES: dict[Form, tuple[str, ...]] = {
    "lora": (WEIGHTS, CONFIG),
    "prompt": (WEIGHTS, CONFIG),
    "merged": (MODEL_CONFIG,),
    "beside": (WEIGHTS, CONFIG),
    "topics": (TOPICS,),
}
# Endings of a model's files that are no weights.
_WORDS = (".json", ".jinja", ".txt", ".model")
# What would speak of the base's weights, or of another program's.
_NOT_COPIED = (".index.json", CONFIG, MANIFEST)
# Ways to begin that leave the base as it was.
_HARMLESS = ("gaussian", "eva", "orthogonal")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# So many names are listed.
_SHOWN = 8
_BEGINNINGS = ("eva_config", "corda_config", "lora_ga_config")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A complete adapter. `name` ends in a hash of weights and configuration, so it never means other weights."""

    name: str
    path: Path
    base_name: str
    base_revision: str
    chat_template_hash: str
    recipe_hash: str
    form: Form
    """What is in the folder: a LoRA, a prompt of numbers, a whole model that the training was merged into, what is
    served beside vLLM, or the record of a set.
    """
    rank: int
    """The largest rank of any of its modules, which is what vLLM's --max-lora-rank must cover; 0 for no LoRA."""
    unserved: tuple[str, ...]
    """What it has that vLLM's LoRA lacks: it would refuse it, or load it without a word and answer wrongly."""
    num_rows: int
    num_dropped: int
    """Rows left out because they were longer than the recipe's max_length."""
    num_tokens: int
    """Tokens trained on, all epochs together, padding aside."""
    training_s: float
    final_loss: float | None
    """None for one that was made of others."""
    method: str = ""
    parity: Parity | None = None
    """How exactly it answers as what was trained; None for one that was written before that was measured."""
    looks: tuple[Look, ...] = ()
    published: Published | None = None
    """What was measured of these weights, where the training was looked at."""
    ended: str = ""
    """Why the training ended before its last step, if it did."""
    objective: str = "supervised"
    preference: Preference | None = None
    """How held-out pairs are ranked, where preferences were learned."""
    drawn: Drawn | None = None
    """What the model's own answers were rewarded with, where it learned from such."""
    compression: Compression | None = None
    """What was made smaller, where it was pruned or rounded."""
    topics: Topics | None = None
    """Of a set: which of its `members` answers what."""
    members: tuple[Adapter, ...] = ()

    @property
    def parts(self) -> tuple[Adapter, ...]:
        """What an engine loads for it: the members of a set, else itself."""
        return self.members or (self,)

    @property
    def has_own_engine(self) -> bool:
        """Whether an engine is started for it alone."""
        return self.form in OWN_ENGINE

    @property
    def num_bytes(self) -> int:
        """All files of the folder together, and of a set's members."""
        own = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        return own + sum(member.num_bytes for member in self.members)


def load_adapter(path: Path) -> Adapter:
    """The adapter in a directory, its files checked against the manifest's hashes; a set with its members.

    Raises TuningError for a torn directory, a changed file, a member that is gone, and a directory that this program
    did not write.
    """
    manifest = read_manifest(path)
    remedy = "delete the directory and train again"
    try:
        form = manifest.get("form", "lora")
        described = {"path": path, "form": form, "rank": 0, "unserved": ()}
        if form == "lora":
            config = json.loads((path / CONFIG).read_bytes())
            described |= {
                "rank": max([config["r"], *(config.get("rank_pattern") or {}).values()]),
                "unserved": _unserved(config),
            }
        adapter = from_row(Adapter, manifest | described, extra="ignore")
        topics = read_topics(path) if form == "topics" else None
        expected = dict(manifest["files"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TuningError(f"{str(path)!r} is no adapter of this program: {error}; {remedy}") from error
    found = hash_files(path)
    changed = sorted(name for name in {*_FILES[form], *expected} if found.get(name, "") != expected.get(name))
    if changed:
        raise TuningError(f"adapter {adapter.name!r} is damaged: {', '.join(changed)} changed or gone; {remedy}")
    if not adapter.name.endswith(f"@{adapter_hash(path)}"):
        raise TuningError(f"adapter {adapter.name!r} does not hold the weights of its name; {remedy}")
    return adapter if topics is None else _with_members(adapter, topics)


def _with_members(adapter: Adapter, topics: Topics) -> Adapter:
    folder, names = adapter.path.parent, [topic.adapter for topic in topics.topics]
    if gone := [name for name in names if not is_complete(folder / name)]:
        raise TuningError(
            f"adapter {adapter.name!r} is a set, and {', '.join(gone)} of it is gone; run its config again, which "
            "trains what is gone"
        )
    members = tuple(load_adapter(folder / name) for name in names)
    return replace(adapter, topics=topics, members=members, rank=max(member.rank for member in members))


def is_there(path: Path) -> bool:
    """Whether an adapter is complete, a set with its members; files are not compared with what they were."""
    if not is_complete(path):
        return False
    return all(is_complete(path.with_name(one["name"])) for one in read_manifest(path).get("chosen_among", ()))


def open_adapter(adapters_dir: Path, name: str) -> Adapter:
    """The adapter of a full name, or of a beginning that only one has: `raft`, `raft@3f`.

    Raises TuningError for a name that none or several have, and for one that is damaged.
    """
    paths = (path for path in adapters_dir.glob("*@*") if not path.name.startswith("."))
    have = sorted(path.name for path in paths if is_complete(path))
    found = [name] if name in have else [one for one in have if one.partition("@")[0] == name]
    found = found or [one for one in have if "@" in name and one.startswith(name)]
    if len(found) != 1:
        shown = listed(found or have, separator=", ", shown=_SHOWN) or "none"
        what = (
            f"{name!r} may be {shown}; give the full name" if found else f"no adapter {name!r} here; there is {shown}"
        )
        raise TuningError(what)
    return load_adapter(adapters_dir / found[0])


def _unserved(config: dict[str, Any]) -> tuple[str, ...]:
    first = config.get("init_lora_weights", True)
    targets = config.get("target_modules") or ()
    named = {name.rsplit(".", 1)[-1] for name in ([targets] if isinstance(targets, str) else targets)}
    heads = sorted(NO_TARGETS.intersection(named))
    whole = config.get("modules_to_save") or ()
    lacks = {
        "DoRA": config.get("use_dora"),
        f"whole modules in place of the base's ({', '.join(whole)})": whole,
        "trained biases": config.get("bias", "none") != "none" or config.get("lora_bias"),
        f"first weights by {first!r}, which changed the base": isinstance(first, str) and first not in _HARMLESS,
        f"an update of {' and '.join(heads)}": heads,
        "trained tokens": config.get("trainable_token_indices"),
        "trained parameters that are no layer": config.get("target_parameters"),
        "repeated blocks": config.get("layer_replication"),
        "activation by a phrase (aLoRA)": config.get("alora_invocation_tokens"),
        "blocks of its own (BD-LoRA)": config.get("use_bdlora"),
        "QA-LoRA": config.get("use_qalora"),
    }
    return tuple(name for name, has in lacks.items() if has)


def find_adapter(adapters_dir: Path, name: str, recipe_hash: str) -> Adapter | None:
    """The adapter that this recipe gave under this name; half-written ones are passed over, and sets without a member.

    Raises TuningError when it is damaged.
    """
    for path in sorted(adapters_dir.glob(f"{name}@*")):
        if is_there(path) and read_manifest(path).get("recipe_hash") == recipe_hash:
            return load_adapter(path)
    return None


def refuse_name(name: str) -> None:
    """Raise TuningError for what no adapter can be called, before the hash of its content."""
    if not _NAME.fullmatch(name):
        raise TuningError(f"adapter name {name!r} must consist of letters, digits, '.', '_' and '-'")


def adapter_hash(directory: Path) -> str:
    """8 hex digits over weights and configuration: the part of an adapter's name after the @. The card counts for
    nothing: it is written anew when more is known.
    """
    hashes = {name: found for name, found in hash_files(directory).items() if name != MODEL_CARD}
    if CONFIG in hashes or not hashes:
        return content_hash(hashes.get(CONFIG, ""), hashes.get(WEIGHTS, ""))[:8]
    return content_hash(*(part for item in hashes.items() for part in item))[:8]


def save_adapter(export: Callable[[Path], None], folder: Path, base: ResolvedModel, form: Form = "lora") -> None:
    """Write by `export(folder)` an adapter's two files, which plain PEFT loads but for bottlenecks, or a whole model's:
    the same bytes for the same weights, wherever they were trained.
    """
    shutil.rmtree(folder, ignore_errors=True)
    export(folder)
    (folder / MODEL_CARD).unlink(missing_ok=True)
    if form == "merged":
        for path in Path(base.path).iterdir():  # the tokenizer, its chat template, what else the model is read with
            is_wanted = path.suffix in _WORDS and not path.name.endswith(_NOT_COPIED)
            if path.is_file() and is_wanted and not (folder / path.name).exists():
                shutil.copyfile(path, folder / path.name)
        return
    config = json.loads((folder / CONFIG).read_bytes())
    # PEFT writes this machine's path to the base model, and its sets in the order of the process's hash seed.
    config |= {"base_model_name_or_path": base.name, "revision": base.revision}
    if form == "lora":
        # How the weights began is not how they are to be read: vLLM refuses some ways, and reads others wrong.
        config |= {"init_lora_weights": True} | {key: None for key in _BEGINNINGS if key in config}
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}
