"""Do questions that a model wrote rank the arms as people's questions do? The same arms, documents and training rows.

    python benchmarks/generated_questions.py --data FOLDER [--questions 100] [KEY=VALUE]...

FOLDER is a data folder with people's test questions (squad). Questions are generated about the documents that those
are about, by the teacher that `generate.teacher.url=... generate.teacher.model=...` names, and used unreviewed.
Every arm is asked both sets. Printed are the arms' means on each, Kendall's tau-b between the two rankings, how often
the same arm is best, and the score on people's questions that is lost by serving the winner of the generated ones; with
95% intervals of a bootstrap over source documents of both sets. What was asked before is not asked again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.data import find_documents, find_folder, load_data
from arbiter.data_stage.questions.generate import Generation
from arbiter.data_stage.questions.material import link_documents, read_documents
from arbiter.home import data_home
from arbiter.pipeline import Pipeline
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import Interval
from tuning.data.layouts import Part, find_part

_OTHERS: tuple[Part, ...] = ("train", "dev")
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of arms (rows) on questions (columns), NaN where there is none, and each question's source document."""

    arms: tuple[str, ...]
    values: NDArray[np.float64]
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two sets of questions agree: Kendall's tau-b, the share of draws with one winner, and what is lost on
    people's questions by the winner of the generated ones.
    """

    tau: Interval
    is_same_winner: bool
    same_winner: float
    loss: Interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a data folder with people's questions")
    parser.add_argument("--questions", type=int, default=100, help="how many questions of each set")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as after a command")
    options = parser.parse_args()
    overrides = [f"limits.questions={options.questions}", "race=null", "limits.repeats=drop", *options.overrides]
    human = scores_of(Pipeline(load_config(options.data, overrides)).evaluate().scorecard())
    made = make_folder(options.data, options.questions, options.overrides)
    generated = scores_of(Pipeline(load_config(made, overrides)).evaluate().scorecard())
    for line in told(human, generated, agreement(human, generated)):
        print(line)


def make_folder(data: Path, num_questions: int, overrides: Sequence[str]) -> Path:
    """A data folder with the same documents and training rows, and generated questions about those documents that
    people's questions are about.
    """
    folder, home, console = find_folder(data), data_home(), Console()
    asked = {name for one in load_data(folder, trains=False).questions for name in one.document_ids}
    config = load_config(
        None, [f"generate.questions={num_questions}", "generate.examples=0", "generate.take_proposed=true", *overrides]
    )
    documents = find_documents(folder)
    if documents is None:
        sys.exit(f"{folder} has no documents")
    material = read_documents(documents, config, home=home, console=console)
    material = replace(material, chunks=tuple(chunk for chunk in material.chunks if chunk.document_id in asked))
    made = home / "generated" / f"agreement-{folder.name}"
    words = " ".join(sys.argv)
    Generation(
        material=material, target=made, config=config, home=home, console=console, command=words, copies=False
    ).run()
    link_documents(made, documents)
    for part in _OTHERS:
        if (rows := find_part(folder, part)) is not None and not (made / rows.name).exists():
            (made / rows.name).symlink_to(rows)
    return made


def scores_of(card: Scorecard) -> Scores:
    """By the metric that decides."""
    values = [[np.nan if score is None else score for score in arm.scores[card.primary]] for arm in card.arms]
    return Scores(tuple(arm.arm.name for arm in card.arms), np.array(values, dtype=np.float64), tuple(card.clusters))


def agreement(human: Scores, generated: Scores, *, draws: int = DRAWS, seed: int = 0) -> Agreement:
    """How the rankings of the arms that both sets have agree; each draw takes documents of both sets anew.

    Raises ValueError with fewer than two arms in common.
    """
    arms = [name for name in human.arms if name in generated.arms]
    if len(arms) < 2:
        raise ValueError(f"{len(arms)} arms were asked both sets; rankings need two")
    ours, theirs = _of(human, arms), _of(generated, arms)
    rng = np.random.default_rng(seed)
    taus, same, losses = [], [], []
    for first, second in zip(_draws(ours, draws, rng), _draws(theirs, draws, rng), strict=True):
        taus.append(kendall(first, second))
        same.append(is_same_winner(first, second))
        losses.append(loss(first, second))
    whole = np.nanmean(ours.values, axis=1), np.nanmean(theirs.values, axis=1)
    return Agreement(
        tau=_interval(kendall(*whole), taus),
        is_same_winner=is_same_winner(*whole),
        same_winner=float(np.mean(same)),
        loss=_interval(loss(*whole), losses),
    )


def kendall(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two rankings (Kendall 1945); 0 where one of them ranks nothing."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(first, second).statistic)
    return 0.0 if np.isnan(tau) else tau


def is_same_winner(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether some arm is best by both."""
    return bool(np.any((first == first.max()) & (second == second.max())))


def loss(human: NDArray[np.float64], generated: NDArray[np.float64]) -> float:
    """What people's questions lose by the arm that is best on the generated ones."""
    return float(human.max() - human[int(generated.argmax())])


def told(human: Scores, generated: Scores, found: Agreement) -> Iterator[str]:
    """The figures as lines of Markdown."""
    ours, theirs = (dict(zip(one.arms, np.nanmean(one.values, axis=1), strict=True)) for one in (human, generated))
    yield f"| arm | people's ({human.values.shape[1]}) | generated ({generated.values.shape[1]}) |\n|---|---|---|"
    for name in sorted(ours, key=lambda name: -ours[name]):
        yield f"| {name} | {ours[name]:.3f} | {f'{theirs[name]:.3f}' if name in theirs else 'not asked'} |"
    yield f"Kendall's tau-b {found.tau.mean:.2f} ({found.tau.low:.2f} to {found.tau.high:.2f})"
    yield f"{'the same' if found.is_same_winner else 'another'} winner; the same in {found.same_winner:.0%} of draws"
    yield f"lost by the winner of the generated: {found.loss.mean:.3f} ({found.loss.low:.3f} to {found.loss.high:.3f})"


def _of(scores: Scores, arms: Sequence[str]) -> Scores:
    places = [scores.arms.index(name) for name in arms]
    return Scores(tuple(arms), scores.values[places], scores.clusters)


def _draws(scores: Scores, draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Means of the arms over documents drawn with replacement, as many as there are."""
    names = sorted(set(scores.clusters))
    of_document = [[i for i, cluster in enumerate(scores.clusters) if cluster == name] for name in names]
    known = ~np.isnan(scores.values)
    sums = np.stack([np.where(known, scores.values, 0.0)[:, places].sum(axis=1) for places in of_document])
    counts = np.stack([known[:, places].sum(axis=1) for places in of_document])
    for _ in range(draws):
        drawn = rng.integers(len(names), size=len(names))
        yield sums[drawn].sum(axis=0) / np.maximum(counts[drawn].sum(axis=0), 1)


def _interval(value: float, draws: Sequence[float]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))


if __name__ == "__main__":
    main()
