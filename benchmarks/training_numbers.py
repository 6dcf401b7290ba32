"""What a training's numbers are worth: scores by rows and passes, with intervals, on sets nobody here wrote.

    python benchmarks/training_numbers.py train --data FOLDER --out SCORES.jsonl [--rows 40 75] [--passes 3 8]
    python benchmarks/training_numbers.py table SCORES.jsonl
    python benchmarks/training_numbers.py curve SCORES.jsonl

FOLDER holds the data sets' folders. `train` makes a closed-book LoRA of so many rows, each sample part of the next, and
scores its greedy answers to the first test questions by the set's metric; without `--passes` as many as ship. What the
file has already is not done again; `--part 1/2` does every second training, for two processes of one thread each.
`table` shows the scores side by side, `curve` how often a forecast from the smaller sizes held at the larger ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arbiter import build
from arbiter.config.loading import load_config
from arbiter.curve import nested
from arbiter.pipeline import Pipeline
from eval.learning_curve import fit_curve
from router.deciding.statistics import mean_interval, paired_difference

METRICS = {
    "banking20": "label_accuracy",
    "restaurant8k": "json_f1",
    "pubmedqa": "label_accuracy",
    "popqa": "contains",
    "squad": "token_f1",
}
SHIPPED = "shipped"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--data", type=Path, required=True, help="folder of the data sets' folders")
    train.add_argument("--out", type=Path, required=True, help="JSON lines, one a training")
    train.add_argument("--sets", nargs="+", choices=list(METRICS), default=list(METRICS))
    train.add_argument("--rows", type=int, nargs="+", default=[40, 75, 150, 300])
    train.add_argument("--passes", nargs="+", default=[SHIPPED], help=f"epochs, or {SHIPPED!r} for those that ship")
    train.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the samples and the trainings")
    train.add_argument("--questions", type=int, default=150)
    train.add_argument("--part", default="1/1")
    train.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    for name in ("table", "curve"):
        commands.add_parser(name).add_argument("scores", type=Path)
    given = parser.parse_args()
    if given.command == "train":
        train_all(given)
    else:
        rows = read(given.scores)
        print("\n".join(table(rows) if given.command == "table" else curve(rows)))


def read(path: Path) -> list[Row]:
    """The lines that are there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def key(row: Row) -> tuple[str, int, str, int]:
    return row["set"], row["rows"], row["passes"], row["seed"]


def train_all(given: argparse.Namespace) -> None:
    place, parts = map(int, given.part.split("/"))
    wanted = list(itertools.product(given.rows, given.passes, given.seeds, given.sets))
    for num_rows, passes, seed, name in wanted[place - 1 :: parts]:
        if (name, num_rows, passes, seed) in set(map(key, read(given.out))):
            continue
        row = measure(given.data / name, name, num_rows, passes, seed, given.questions, given.home.resolve())
        with given.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name not in ("scores", "clusters")}, flush=True)


def measure(folder: Path, name: str, num_rows: int, passes: str, seed: int, questions: int, home: Path) -> Row:
    """One training, and the score of each of its answers."""
    from tuning.training.run import train_adapter

    overrides = {
        "data": str(folder),
        "policy.metric": METRICS[name],
        "limits.questions": str(questions),
        "limits.repeats": "drop",
        "limits.contradictions": "drop",
        "seed": str(seed),
        **{f"arms.{arm}": "null" for arm in ("fewshot", "rag", "tuned_rag", "hybrid")},
        "adapters.raft": "null",
    }
    if passes != SHIPPED:
        overrides["adapters.closed_book.epochs"] = passes
    pipeline = Pipeline(load_config(None, [f"{name}={value}" for name, value in overrides.items()]), home=home)
    config, data = pipeline.config, pipeline.data
    sample = nested(data.examples, [num_rows], seed)[0]
    began = time.monotonic()
    adapter = train_adapter(
        base=pipeline.base,
        rows=build.training_rows(config, "closed_book", sample, None),
        recipe=config.adapters["closed_book"],
        name="closed-book",
        adapters_dir=home / "adapters",
        work_dir=home / "training",
        provenance={},
    )
    trained_s = time.monotonic() - began
    asked = build.check_rows(config, "closed_book", data.questions, None)
    answers = answer(pipeline.base.path, adapter.path, asked)
    return {
        "set": name,
        "rows": num_rows,
        "passes": passes,
        "seed": seed,
        "metric": METRICS[name],
        "training_s": round(adapter.training_s or trained_s, 1),
        "loss": adapter.final_loss,
        "scores": pipeline.scoring.score_texts(data.questions, answers),
        "clusters": [question.cluster for question in data.questions],
    }


def answer(base: str, adapter: Path, rows: Sequence[Any]) -> list[str]:
    """Greedy answers of an adapter to the prompts of rows."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuning.objectives.supervised import SUPERVISED
    from tuning.training.measuring import generate

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [SUPERVISED.encode(tokenizer, row) for row in rows]
    with torch.no_grad():
        return generate(model.merge_and_unload().eval(), encoded, tokenizer)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Scores of every size by passes, and by how much the last is better than the first on the same questions."""
    found: dict[tuple[str, int, int], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        found[row["set"], row["rows"], row["seed"]][row["passes"]] = row
    columns = sorted({row["passes"] for row in rows}, key=lambda one: (one == SHIPPED, one))
    yield "| set | metric | rows | seed | " + " | ".join(f"{one} passes" for one in columns) + " | last - first |"
    yield "|---" * (len(columns) + 5) + "|"
    for (name, num_rows, seed), by_passes in sorted(found.items()):
        cells = []
        for one in columns:
            if (found_row := by_passes.get(one)) is None:
                cells.append("–")
                continue
            interval = mean_interval(found_row["scores"], found_row["clusters"])
            shown = f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"
            cells.append(f"{shown}, {found_row['training_s']:.0f} s")
        first, last = (
            next((by_passes[one] for one in order if one in by_passes), None) for order in (columns, columns[::-1])
        )
        assert first is not None
        assert last is not None
        gain = paired_difference(last["scores"], first["scores"], first["clusters"], margin=0.05)
        shown = f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        yield f"| {name} | {first['metric']} | {num_rows} | {seed} | " + " | ".join(cells) + f" | {shown} |"


def curve(rows: Sequence[Row]) -> Iterator[str]:
    """Of each set and seed: what the sizes up to a half and a quarter of the largest say of the largest."""
    yield "| set | seed | from | of | forecast | 90% interval | was | within |"
    yield "|---" * 8 + "|"
    held = list[bool]()
    for (name, seed), group in itertools.groupby(
        sorted(rows, key=lambda row: (row["set"], row["seed"], row["rows"])), lambda row: (row["set"], row["seed"])
    ):
        by_size = {row["rows"]: row for row in group if row["passes"] == SHIPPED}
        sizes = sorted(by_size)
        for end in range(3, len(sizes)):
            fitted = [by_size[size] for size in sizes[:end]]
            found = fit_curve(sizes[:end], [row["scores"] for row in fitted], fitted[0]["clusters"], seed=seed)
            for size in sizes[end:]:
                forecast, was = found.forecast(size), mean_interval(by_size[size]["scores"], by_size[size]["clusters"])
                held.append(forecast.low <= was.mean <= forecast.high)
                yield (
                    f"| {name} | {seed} | {', '.join(map(str, sizes[:end]))} | {size} | {forecast.mean:.2f} | "
                    f"{forecast.low:.2f} to {forecast.high:.2f} | {was.mean:.2f} | {'yes' if held[-1] else 'no'} |"
                )
    yield ""
    yield f"within its interval: {sum(held)} of {len(held)}"


if __name__ == "__main__":
    main()
