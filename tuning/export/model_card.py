"""The model card of an adapter, README.md beside its weights: a function of its manifest and of what gates showed.

write_model_card(home / "adapters" / "support@3f9c01ab", gates)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from storage.files import replace_text
from storage.folders import read_manifest
from tuning.base import MODEL_CARD

_MODEL_CONFIG = "config.json"
_FORMS = {
    "lora": "a LoRA adapter",
    "prompt": "a soft prompt",
    "merged": "a whole model, the training merged into its weights",
    "beside": "an adapter that is served beside vLLM",
    "topics": "a set of adapters, one for each topic of its rows,",
}


@dataclass(frozen=True, slots=True)
class GateLine:
    """What one gate showed of an arm that answers with the adapter, in a run."""

    run: str
    arm: str
    title: str
    verdict: str
    says: str


@dataclass(frozen=True, slots=True)
class LossLine:
    """What pruning or rounding cost in a run: the score of an arm minus that of the arm `before`, by `metric`, and its
    ends at a confidence of `level`.
    """

    run: str
    arm: str
    before: str
    metric: str
    mean: float
    low: float
    high: float
    num_questions: int
    level: float


def write_model_card(folder: Path, gates: Sequence[GateLine] = (), losses: Sequence[LossLine] = ()) -> None:
    """Write the card of a published adapter anew. The content that the adapter is named by does not change."""
    replace_text(folder / MODEL_CARD, card_text(read_manifest(folder), gates, losses))


def card_text(manifest: Mapping[str, Any], gates: Sequence[GateLine] = (), losses: Sequence[LossLine] = ()) -> str:
    """The card in the hub's format: YAML, then Markdown. Of older manifests it says what they hold."""
    from huggingface_hub import ModelCardData

    recipe = manifest.get("recipe") or {}
    method, objective = manifest.get("method") or "lora", manifest.get("objective", "supervised")
    form = manifest.get("form", "lora")
    compression = manifest.get("compression")
    made = "made" if compression is not None and not compression["is_trained"] else "trained"
    data = ModelCardData(
        base_model=manifest["base_name"],
        library_name="transformers" if form == "merged" else "peft",
        pipeline_tag="text-generation",
        license=manifest.get("base_license"),
        tags=["arbiter", *dict.fromkeys((method, objective))],
    )
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {manifest['name']}",
        f"This is {_FORMS.get(form, form)} for {manifest['base_name']}, {made} with Arbiter by the method `{method}` "
        f"on {manifest.get('num_rows', 'an unknown number of')} rows (objective: {objective}).",
        "## Intended use\n\n" + _bullets(_uses(manifest)),
        "## Data\n\n" + _bullets(_data(manifest)),
        "## Training\n\n" + _bullets(_training(manifest)),
        _table(("number", "value"), [(name, _shown(value)) for name, value in recipe.items()]) if recipe else "",
        "## What was measured\n\n" + _bullets(_measured(manifest)),
        "## What it lost\n\n" + _bullets(_compressed(compression, losses)) if compression is not None else "",
        "## Gates\n\n" + _gates(gates),
        "## Limits\n\n" + _bullets(_limits(manifest)),
        "## License\n\n" + _license(manifest),
    ]
    return "\n\n".join(part for part in sections if part) + "\n"


def license_of(base_path: str | Path) -> str | None:
    """The license that the base model's config, or its own card, names."""
    folder = Path(base_path)
    try:
        config = json.loads((folder / _MODEL_CONFIG).read_bytes())
    except (OSError, ValueError):
        config = {}
    found = config.get("license") if isinstance(config, dict) else None
    if not found:
        found = _front_matter(folder / MODEL_CARD).get("license")
    return found if isinstance(found, str) and found.strip() else None


def _front_matter(path: Path) -> Mapping[str, Any]:
    try:
        head, found = path.read_text(encoding="utf-8").split("---", 2)[:2]
        values = yaml.safe_load(found) if not head.strip() else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _uses(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "Questions like those of its training rows, asked with the prompt that it was trained with."
    yield f"Only on its base model, {manifest['base_name']} at revision `{manifest['base_revision']}`"
    if quantization := manifest.get("base_quantization"):
        yield f"It was trained on the base in four bits ({quantization}), and is served on it in full precision."
    yield f"Only with the chat template of hash `{manifest['chat_template_hash']}`."
    if found := manifest.get("chosen_among"):
        among = ", ".join(f"`{one['name']}` ({one['num_rows']} rows)" for one in found)
        yield f"The adapter of the topic that is nearest to a question answers it, one of {among}."
        least = manifest["grouping"]["threshold"]
        yield f"The base model answers what is farther from all of them than a cosine of {least:g}."


def _data(manifest: Mapping[str, Any]) -> Iterator[str]:
    provenance = manifest.get("provenance") or {}
    rows, tokens = _shown(manifest.get("num_rows")), _shown(manifest.get("num_tokens"))
    if manifest.get("num_steps") == 0:
        yield f"{rows} rows were given, and none was trained on"
    else:
        yield f"{rows} rows were trained on, {tokens} tokens in all"
    dropped = manifest.get("num_dropped", 0)
    longest = (manifest.get("recipe") or {}).get("max_length")
    yield f"{dropped} rows were left out for being longer than {_shown(longest)} tokens"
    if hashed := manifest.get("rows_hash"):
        yield f"sha256 of the rows in their order: `{hashed}`"
    for key, value in provenance.items():
        if key != "notes":
            # Where it lay is this machine's affair.
            yield f"{key.replace('_', ' ')}: `{Path(str(value)).name if key == 'data' else value}`"
    for note in provenance.get("notes") or ():
        yield f"before the training: {note}"


def _training(manifest: Mapping[str, Any]) -> Iterator[str]:
    seconds, loss = manifest.get("training_s"), manifest.get("final_loss")
    steps = manifest.get("num_steps")
    on = f" on {manifest['device']}" if manifest.get("device") else ""
    precision = f" in {manifest['precision']}" if manifest.get("precision") else ""
    yield f"{_shown(seconds)} seconds{on}{precision}, {_shown(steps)} steps, loss {_shown(loss)} at the end"
    yield f"energy: {_energy(manifest.get('energy'))}"
    if ended := manifest.get("ended"):
        yield f"it ended early: {ended}"
    if packages := manifest.get("packages"):
        yield "made with " + ", ".join(f"{name} {version}" for name, version in packages.items())
    yield f"hash of the recipe: `{manifest.get('recipe_hash', 'unknown')}`"


def _energy(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "unknown: this adapter was trained before it was looked at"
    if found["joules"] is None:
        return str(found["source"])
    return f"{found['joules'] / 3600:.3g} Wh, {found['source']}"


def _measured(manifest: Mapping[str, Any]) -> Iterator[str]:
    if parity := manifest.get("parity"):
        yield (
            f"What is served answers as what was trained: the largest difference of a logit is "
            f"{parity['largest']:.2g}, of {parity['tolerance']:.2g} that are allowed; "
            f"training moved them by {parity['effect']:.2g}"
        )
    else:
        yield "How exactly it answers as what was trained was not measured"
    looks, published = manifest.get("looks") or (), manifest.get("published")
    if looks and published:
        steps = " and ".join(map(str, published["steps"]))
        yield f"Score of the dev rows: {looks[0]['score']:.3f} before, {published['score']:.3f} after step {steps}"
        if looks[0].get("guard") is not None and published.get("guard") is not None:
            yield f"Score of the guard rows: {looks[0]['guard']:.3f} before, {published['guard']:.3f} after"
    if told := manifest.get("preference"):
        accuracy = told["accuracy"]
        yield (
            f"Of {told['num_pairs']} held-out pairs the chosen answer is preferred in "
            f"{told['accuracy_before']['mean']:.0%} before and {accuracy['mean']:.0%} after "
            f"({accuracy['low']:.0%} to {accuracy['high']:.0%})"
        )


def _compressed(told: Mapping[str, Any], losses: Sequence[LossLine]) -> Iterator[str]:
    """What was pruned or rounded, and what a run says that it cost."""
    before = f"`{told['before']}`" if told["before"] else "the base model"
    share = told["layer_zeros"] / told["layer_numbers"]
    then = ", and what was left was trained" if told["is_trained"] else ", and nothing was trained"
    yield f"Made of {before}: {told['kind']}{then}"
    yield (
        f"{told['layer_zeros']:,} of the {told['layer_numbers']:,} weights of its layers are 0 ({share:.2%}), "
        f"{told['nonzero']:,} of all {told['numbers']:,} are not"
    )
    packed = f"; rounded, it would take {told['packed_bytes']:,}" if told["packed_bytes"] else ""
    yield f"The files take {told['num_bytes']:,} bytes, as many as those of a model without zeros or rounding{packed}"
    for one in losses:
        yield (
            f"In run `{one.run}` arm {one.arm} scores {one.mean:+.3f} beside {one.before} ({one.low:+.3f} to "
            f"{one.high:+.3f}, {one.level:.0%} confidence) by {one.metric} on {one.num_questions:,} questions"
        )
    if not losses:
        yield "What that cost is told here once a run asks it beside an arm of what it was made of."


def _gates(gates: Sequence[GateLine]) -> str:
    if not gates:
        return "None was measured. `arbiter gates RUN` measures them on an arm that answers with this adapter."
    rows = [(one.arm, one.title, one.verdict, one.says) for one in gates]
    table = _table(("arm", "gate", "verdict", "what was found"), rows)
    return f"Measured by `arbiter gates` on run `{gates[0].run}`.\n\n{table}"


def _limits(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "What it answers is as good as its training rows, and may be wrong; a run of Arbiter says how often."
    yield "It may say what stands in its training rows, personal data among it, to whoever asks."
    yield "It is not made for decisions about people, nor for advice on health, law or money without a person's review."
    if manifest.get("num_dropped"):
        yield f"It has not learned from the {manifest['num_dropped']} rows that were too long."


def _license(manifest: Mapping[str, Any]) -> str:
    if named := manifest.get("base_license"):
        return f"The base model is under `{named}`, which binds what is made of it; the rows may have their own."
    return "The base model names no license in its files; what it is under binds this adapter too."


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [list(head), ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
