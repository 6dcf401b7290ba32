"""Model size and LoRA over classification sets: what does a larger model give, and what does training give?

    python benchmarks/model_size.py --data FOLDER [--depths 10 20 30] [--sets banking20 ...] [--rows 300]

FOLDER holds the data sets' folders. The models are the embedded one with so many of its blocks, spread evenly from the
first to the last, or with `--models` hub ids of any sizes. Each set's questions are asked of the base, of the base with
four training rows in its prompt, and of a LoRA with the settings that ship; scores are those of `arbiter evaluate
--whole`. Prints a Markdown table; what is done already is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arbiter.config.loading import load_config
from arbiter.models import GENERATOR, resolve_model
from arbiter.pipeline import Pipeline
from router.deciding.statistics import mean_interval

ARMS = ("base", "fewshot", "tuned")
Row = dict[str, Any]


def _slots(row: Row) -> str:
    """What a booking request says something about."""
    return ", ".join(sorted(json.loads(row["answers"][0]))) or "nothing"


# What is to be said of each question, where that is not the answer of the set itself.
LABELS: Mapping[str, Callable[[Row], str]] = {
    "banking20": lambda row: str(row["answers"][0]),
    "banking77": lambda row: str(row["answers"][0]),
    "pubmedqa": lambda row: str(row["answers"][0]),
    "popqa": lambda row: str(row["metadata"]["prop"]),
    "restaurant8k": _slots,
    "retrievalqa_mixed": lambda row: str(row["metadata"]["source"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets' folders")
    parser.add_argument("--sets", nargs="+", choices=list(LABELS), default=list(LABELS))
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 20, 30])
    parser.add_argument("--models", nargs="+", default=[], help="hub ids or folders, in place of --depths")
    parser.add_argument("--rows", type=int, default=300, help="training rows (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    given = parser.parse_args()
    home = given.home.resolve()
    models = given.models or [str(with_depth(depth, home)) for depth in given.depths]
    head = ("set", "labels", "model", "weights", *ARMS, "training s")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|", flush=True)
    for name in given.sets:
        folder, num_labels = as_classification(given.data / name, home / "classification" / name, LABELS[name])
        for model in models:
            cells = [name, str(num_labels), *measure(folder, model, given.rows, given.questions, home)]
            print("| " + " | ".join(cells) + " |", flush=True)


def with_depth(depth: int, home: Path) -> Path:
    """The folder of the embedded model with so many of its blocks."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = home / "depths" / f"depth-{depth}"
    if (folder / "model.safetensors").is_file():
        return folder
    source = resolve_model(GENERATOR, home=home).path
    model = AutoModelForCausalLM.from_pretrained(source)
    blocks = model.model.layers
    kept = [round(i * (len(blocks) - 1) / (depth - 1)) for i in range(depth)]
    model.model.layers = torch.nn.ModuleList([blocks[i] for i in kept])
    for place, block in enumerate(model.model.layers):
        block.self_attn.layer_idx = place
    model.config.num_hidden_layers = depth
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[i] for i in kept]
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def as_classification(source: Path, folder: Path, label: Callable[[Row], str]) -> tuple[Path, int]:
    """The set with labels as answers and without documents, and how many labels there are."""
    folder.mkdir(parents=True, exist_ok=True)
    labels: set[str] = set()
    for name in ("train.jsonl", "test.jsonl"):
        with (source / name).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        short = [{"id": r["id"], "question": r["question"], "answers": [label(r)]} for r in rows]
        labels.update(row["answers"][0] for row in short)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in short), encoding="utf-8")
    return folder, len(labels)


def overrides(folder: Path, model: str, rows: int, questions: int) -> dict[str, str]:
    """The settings of a model on a set."""
    return {
        "data": str(folder),
        "model": model,
        "race": "null",
        "policy.metric": "label_accuracy",
        "limits.train_rows": str(rows),
        "limits.questions": str(questions),
        "limits.repeats": "drop",
        **{f"arms.{name}": "null" for name in ("rag", "tuned_rag", "hybrid")},
        "adapters.raft": "null",
    }


def measure(folder: Path, model: str, rows: int, questions: int, home: Path) -> list[str]:
    """The cells of a model on a set."""
    given = overrides(folder, model, rows, questions)
    pipeline = Pipeline(load_config(None, [f"{key}={value}" for key, value in given.items()]), home=home)
    card = pipeline.evaluate().scorecard()
    shown = []
    for name in ARMS:
        column = next(scores.scores[card.primary] for scores in card.arms if scores.arm.name == name)
        known = [(score, cluster) for score, cluster in zip(column, card.clusters, strict=True) if score is not None]
        one = mean_interval([score for score, _ in known], [cluster for _, cluster in known])
        shown.append(f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})")
    size = sum(file.stat().st_size for file in Path(pipeline.base.path).glob("*.safetensors")) / 1e6
    return [Path(model).name, f"{size:.0f} MB", *shown, f"{sum(card.training_s.values()):.0f}"]


if __name__ == "__main__":
    main()
