"""Whether adapters by topic recall more facts than one adapter for all, and leave a neighbouring topic's alone.

    python benchmarks/topic_adapters.py [--subjects 4] [--facts 16] [--epochs 20] [--home FOLDER]

Facts that nobody can know are planted: for each subject so many people with a made-up number each. The embedded model
is trained on them twice, by a set of adapters, one a topic, and by one LoRA for all, with the same numbers. Then the
facts of the first subject are changed, and both are trained again. The table says how many facts are recalled word for
word, and the mean log-probability of the other subjects' answers before and after that change.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from router.answering.prompts import ANSWER
from router.answering.topics import choosers
from tuning.export.adapters import Adapter
from tuning.export.opening import open_exported
from tuning.training.libraries import quiet
from tuning.training.loading import load_tokenizer

SUBJECTS = (
    "the locker of {} at the swimming pool",
    "the seat of {} in the opera house",
    "the account of {} at the savings bank",
    "the berth of {} in the yacht harbour",
    "the greenhouse of {} in the botanical garden",
    "the microscope of {} in the biology laboratory",
    "the stable of {} at the riding school",
    "the hangar of {} at the airfield",
)
FIRST = ("Ada", "Bela", "Cleo", "Dora", "Emil", "Finn", "Gwen", "Hugo")
LAST = ("Abend", "Brandt", "Corvin", "Dahl", "Eisner", "Falk", "Grau", "Holm")


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, its answer, and which subject it is of."""

    subject: int
    question: str
    answer: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=4, choices=range(2, len(SUBJECTS) + 1), metavar="2..8")
    parser.add_argument("--facts", type=int, default=16, choices=range(8, 65), metavar="8..64", help="of each subject")
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    options = parser.parse_args()
    before = plant(options.subjects, options.facts, options.seed)
    changed = plant(options.subjects, options.facts, options.seed + 1)
    after = [new if new.subject == 0 else old for old, new in zip(before, changed, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(facts, Path(folder) / f"facts{place}", options) for place, facts in enumerate((before, after))]
    print("| adapter | recalled | recalled after the change | neighbours, log p | after the change | largest move |")
    print("|---|---|---|---|---|---|")
    for name in ("by topic", "one for all"):
        recalled = [measured[name]["recalled"] for measured in found]
        first, second = (measured[name]["neighbours"] for measured in found)
        move = max(abs(a - b) for a, b in zip(first, second, strict=True))
        means = [sum(values) / len(values) for values in (first, second)]
        shares = " | ".join(f"{share:.1%}" for share in recalled)
        print(f"| {name} | {shares} | {means[0]:.4f} | {means[1]:.4f} | {move:.4f} |", flush=True)


def plant(num_subjects: int, num_facts: int, seed: int) -> list[Fact]:
    """So many facts of each subject; a number is three digits."""
    drawn = random.Random(seed)
    names = [f"{first} {last}" for first in FIRST for last in LAST][:num_facts]
    return [
        Fact(place, f"What is the number of {subject.format(name)}?", str(drawn.randrange(100, 1000)))
        for place, subject in enumerate(SUBJECTS[:num_subjects])
        for name in names
    ]


def measure(facts: Sequence[Fact], folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Both adapters of these facts: the share that is recalled, and the log-probabilities of the other subjects."""
    folder.mkdir(parents=True)
    rows = [json.dumps({"question": fact.question, "answers": [fact.answer]}) for fact in facts]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "test.jsonl").write_text(json.dumps({"question": "Who was Ada?", "answers": ["a queen"]}) + "\n")
    config = Config.model_validate(
        {
            "data": folder,
            "adapters": {name: {"epochs": options.epochs} for name in ("memory", "single")},
            "topics": {"memory": {"count": options.subjects}},
            "arms": {
                **dict.fromkeys(("base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid")),
                "by topic": {"adapter": "memory"},
                "one for all": {"adapter": "single"},
            },
        }
    )
    pipeline = Pipeline(config, home=options.home.resolve(), console=Console())
    adapters = pipeline.adapters
    choose = choosers(adapters.values(), pipeline.embedder)[adapters["memory"].name].choose
    members = {member.name: member for member in adapters["memory"].members}
    by_topic = [members.get(choose(fact.question) or "") for fact in facts]
    found = {}
    for name, asked in (("by topic", by_topic), ("one for all", [adapters["single"]] * len(facts))):
        answers = ask(pipeline.base.path, facts, asked)
        neighbours = [value for fact, (_, value) in zip(facts, answers, strict=True) if fact.subject]
        right = sum(said == fact.answer for fact, (said, _) in zip(facts, answers, strict=True))
        found[name] = {"recalled": right / len(facts), "neighbours": neighbours}
    return found


def ask(path: str, facts: Sequence[Fact], adapters: Sequence[Adapter | None]) -> list[tuple[str, float]]:
    """What each adapter, or the base for None, answers to its fact, greedily, and the log-probability of the answer."""
    import torch
    from transformers import AutoModelForCausalLM

    answers: dict[int, tuple[str, float]] = {}
    with quiet(), torch.no_grad():
        tokenizer = load_tokenizer(path)

        def open_whole(folder: str) -> Any:
            return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

        for adapter in dict.fromkeys(one.name if one is not None else "" for one in adapters):
            places = [place for place, one in enumerate(adapters) if (one.name if one is not None else "") == adapter]
            used, model = adapters[places[0]], open_whole(path)
            if used is not None:
                model = open_exported(used.form, model, used.path, open_whole)
            model.eval()
            for place in places:
                messages = ANSWER.ask(facts[place].question)
                prompt = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
                ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
                gold = tokenizer(facts[place].answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
                made = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
                )
                said = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()
                logits = model(input_ids=torch.cat([ids, gold], dim=1)).logits[0, ids.shape[1] - 1 : -1]
                likely = logits.log_softmax(-1).gather(1, gold[0][:, None]).sum()
                answers[place] = (said, float(likely))
    return [answers[place] for place in range(len(facts))]


if __name__ == "__main__":
    main()
