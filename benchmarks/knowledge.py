"""Do two findings of the literature on teaching facts hold in a made-up world? `python benchmarks/knowledge.py`

A model of a few hundred thousand weights is taught a world's facts (benchmarks/knowledge_world.py) and then trained
further, all by this project's own full tuning; what it knows is graded as `arbiter data probe` grades it.

Gekhman et al. 2024 (arxiv.org/abs/2405.05904): rows of unknown facts are learned slower than rows of known ones; after
many epochs the more unknown rows there are, the fewer known facts that were not trained on are still right; stopping
early, here by `keep: best`, takes most of that harm away.

Ovadia et al. 2024 (arxiv.org/abs/2312.05934): of new facts a model gives more with the fact in its prompt than after
training on it, and more after training on several wordings than after as many steps on one.

An ordering holds where the 95% interval of the difference over seeds (Student's t) is above 0. The world and the model
are other ones for each seed. Ends with 0 whatever holds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_lab import Lab, Size, asked_rows
from knowledge_world import Fact, make_world

from eval.knowledge import DEGREES, Knowledge, forecast
from eval.report.tables import table
from router.deciding.statistics import upper_t

Measured = dict[str, Any]


@dataclass(frozen=True)
class Ordering:
    """A claim, and by how much one seed's measures are for it."""

    name: str
    paper: str
    claim: str
    by: Callable[[Measured], float]


def _harm(one: Measured, when: str) -> float:
    """What the mix of unknown rows alone leaves less of the held-out known facts than the mix of known rows alone."""
    shares = sorted(one["mixes"], key=float)
    return float(one["mixes"][shares[0]][when] - one["mixes"][shares[-1]][when])


ORDERINGS = (
    Ordering(
        "slower",
        "Gekhman",
        "known rows are right before unknown ones (mean over the epochs of a mixed training)",
        lambda one: statistics.fmean(one["fit"]["known"][1:]) - statistics.fmean(one["fit"]["unknown"][1:]),
    ),
    Ordering(
        "harm",
        "Gekhman",
        "unknown rows cost held-out known facts (last epoch, known rows alone less unknown rows alone)",
        lambda one: _harm(one, "last"),
    ),
    Ordering(
        "early",
        "Gekhman",
        "stopping early takes more than half of that away (half of the harm less what is left)",
        lambda one: _harm(one, "last") / 2 - _harm(one, "early"),
    ),
    Ordering(
        "rag",
        "Ovadia",
        "the fact in the prompt is better than training on its plain statement",
        lambda one: one["new"]["rag"] - one["new"]["one"],
    ),
    Ordering(
        "paraphrases",
        "Ovadia",
        "training on several wordings is better than as many steps on one",
        lambda one: one["new"]["several"] - one["new"]["one"],
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", type=int, default=60, help="each has three facts")
    parser.add_argument("--rows", type=int, default=32, help="of each mix")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="of unknown rows in the mixes")
    parser.add_argument("--lesson-epochs", type=float, default=5.0, help="of teaching the world")
    parser.add_argument("--epochs", type=float, default=20.0, help="of the trainings after it")
    parser.add_argument("--repeats", type=int, default=4, help="how often an epoch has each lesson of a fact")
    parser.add_argument("--readings", type=int, default=2000, help="rows that teach to read a passage")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument(
        "--home", type=Path, help="where models are kept, and found again; by default they are not kept"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if len(options.shares) < 2 or not all(0 <= share <= 1 for share in options.shares):
        parser.error(f"--shares are two or more from 0 to 1, not {options.shares}")
    if options.rows < 8:
        parser.error(f"--rows is 8 or more, not {options.rows}")
    if len(set(options.seeds)) < 2:
        parser.error("--seeds are two or more: one says nothing of the next")
    with tempfile.TemporaryDirectory() as folder:
        measured = [measure(seed, options, options.home or Path(folder)) for seed in options.seeds]
    if options.json:
        found = [{"name": one.name, "claim": one.claim, **judged(one, measured)} for one in ORDERINGS]
        print(json.dumps({"orderings": found, "seeds": measured}))
        return
    print("\n\n".join((mixes_table(measured), new_table(measured), orderings_table(measured))))


def measure(seed: int, options: argparse.Namespace, home: Path) -> Measured:
    """All that one seed gives."""
    began = time.process_time()
    world = make_world(num_people=options.people, num_strange=options.rows + 8, num_new=24, num_things=30, seed=seed)
    size = Size(
        width=options.width,
        layers=options.layers,
        lesson_epochs=options.lesson_epochs,
        repeats=options.repeats,
        readings=options.readings,
        epochs=options.epochs,
    )
    name = f"{options.people}-people-{options.rows}-rows-{size.width}x{size.layers}-seed-{seed}"
    lab = Lab(world, home.resolve() / name, size)
    degrees = lab.probe()
    knowledge = Knowledge(degrees)
    say(f"seed {seed}: {', '.join(f'{knowledge.count(one)} {one}' for one in DEGREES)}")
    draw = random.Random(seed)
    known = [fact for fact in world.taught if degrees[fact.id] == "known"]
    unknown = [fact for fact in world.strange if degrees[fact.id] == "unknown"]
    new = [fact for fact in world.new if degrees[fact.id] == "unknown"]
    if len(known) < options.rows + 16 or len(unknown) < options.rows or not new:
        sys.exit(
            f"seed {seed}: {len(known)} facts of the lessons are known, {len(unknown)} strange and {len(new)} new ones "
            f"unknown, and --rows {options.rows} needs 16 known ones more, as many strange and some new "
            "ones; lower it, or raise --people or --lesson-epochs"
        )
    draw.shuffle(known)
    rows, held_out = known[: options.rows], known[options.rows :]
    dev, test = held_out[: len(held_out) // 2], held_out[len(held_out) // 2 :]
    mixes: dict[str, Measured] = {}
    for share in sorted(options.shares):
        looks, published = lab.tune(
            f"mix-{share:g}", asked_rows(mix(rows, unknown, share)), asked_rows(dev), asked_rows(test)
        )
        mixes[f"{share:g}"] = {
            "before": looks[0]["guard"],
            "last": looks[-1]["guard"],
            "early": published["guard"],
            "early_step": published["steps"][-1],
            "curve": [look["guard"] for look in looks],
        }
    learned = mix(rows, unknown, 0.5)
    by_degree = [[fact for fact in learned if degrees[fact.id] == degree] for degree in ("known", "unknown")]
    looks, _ = lab.tune("fit", asked_rows(learned), *map(asked_rows, by_degree))
    fit = {"known": [look["score"] for look in looks], "unknown": [look["guard"] for look in looks]}
    return {
        "seed": seed,
        "degrees": {degree: knowledge.count(degree) for degree in DEGREES},
        "forecasts": {
            "known": forecast(Knowledge({fact.id: degrees[fact.id] for fact in rows})),
            "unknown": forecast(Knowledge({fact.id: degrees[fact.id] for fact in unknown})),
        },
        "held_out": {"dev": len(dev), "test": len(test)},
        "mixes": mixes,
        "fit": fit,
        "new": lab.inject(new),
        "processor_s": round(time.process_time() - began, 1),
    }


def mix(known: Sequence[Fact], unknown: Sequence[Fact], share: float) -> list[Fact]:
    """As many facts as are known, of which this share is unknown."""
    num_unknown = round(share * len(known))
    return [*known[: len(known) - num_unknown], *unknown[:num_unknown]]


def judged(ordering: Ordering, measured: Sequence[Measured]) -> dict[str, Any]:
    """The mean difference over seeds with its 95% interval, and whether the ordering holds."""
    values = [ordering.by(one) for one in measured]
    mean, num = statistics.fmean(values), len(values)
    reach = upper_t(0.025, num - 1) * statistics.stdev(values) / math.sqrt(num)
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "holds": mean - reach > 0}


def mixes_table(measured: Sequence[Measured]) -> str:
    """Held-out known facts that are right, by the share of unknown rows."""
    shares = list(measured[0]["mixes"])
    rows = []
    for share in shares:
        mixes = [one["mixes"][share] for one in measured]
        cells = [_spread([mix[when] for mix in mixes]) for when in ("before", "early", "last")]
        rows.append((f"{float(share):.0%}", *cells, ", ".join(str(mix["early_step"]) for mix in mixes)))
    return table(("unknown rows", "before", "stopped early", "last epoch", "stopped after steps"), rows)


def new_table(measured: Sequence[Measured]) -> str:
    """New facts that are right, by how the model got them."""
    names = {
        "base": "nothing",
        "rag": "the fact in the prompt",
        "one": "training on the plain statement",
        "several": "training on several wordings",
    }
    return table(
        ("what there is of new facts", "right"),
        [(said, _spread([one["new"][name] for one in measured])) for name, said in names.items()],
    )


def orderings_table(measured: Sequence[Measured]) -> str:
    """Each ordering with its interval."""
    rows = []
    for ordering in ORDERINGS:
        found = judged(ordering, measured)
        interval = f"{found['mean']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"
        rows.append((ordering.paper, ordering.claim, interval, "pass" if found["holds"] else "fail"))
    return table(("paper", "ordering", "difference", "holds"), rows)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
