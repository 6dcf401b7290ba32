"""What finished runs of the whole grid say of the method: `decision.py replay` and `decision.py coverage`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.answers import AnswerRecord, Asked
from eval.questions import Question
from eval.race import Look, plan_race, run_race
from eval.runs.run import find_run
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.policy import Policy
from router.deciding.racing import look
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import Interval, mean_interval, paired_difference

MARGIN = 0.05


@dataclass(frozen=True)
class Finished:
    """A finished run by the name of its data folder, with the metric that decides here."""

    data: str
    card: Scorecard


def open_finished(given: str) -> Finished:
    """The run of `FOLDER` or `FOLDER=METRIC`. Raises ValueError for one that is not finished, or lacks the metric."""
    folder, _, metric = given.partition("=")
    run = find_run(Path(folder))
    if run is None:
        raise ValueError(f"no finished run in {folder!r}")
    card = run.scorecard()
    return Finished(run.id.split("-")[0], replace(card, primary=metric or card.primary))


# The answers that a team would give to the usual questionnaire ("do answers need facts from documents? must they keep a
# format or a label set?"), and the arm that such guides then recommend.
RULE_OF_THUMB = {
    "squad": ("facts from documents, no format", "rag"),
    "popqa": ("long-tail facts from documents, no format", "rag"),
    "banking20": ("a fixed set of labels, no facts", "tuned"),
    "restaurant8k": ("a JSON format, no facts", "tuned"),
    "pubmedqa": ("facts from documents and a fixed set of labels: both", "tuned_rag"),
}


WAYS = ("race", "whole half", "always rag", "always tuned", "questionnaire")
# Answers that need no model, as one more contestant.
FLOOR = "nearest training answer"


def replay(runs: Sequence[Finished], trials: int, seed: int) -> None:
    """Half of the documents, at random, are raced over; the other half says what each choice is worth and costs."""
    policy = Policy()
    print(f"{trials} random halves a run, the policy and the race that ship. Regret: the score lost on the other half")
    print("against the best arm there; below 0 where no arm is as good as the answer of the nearest training question.")
    print("Cost: of 1,000 questions there, at the default prices.\n")
    head = ("run", "metric", "raced", "answers used", "recommended", "verdict")
    regret_head = [f"regret: {way}" for way in (*WAYS, FLOOR)]
    rows, costs = [], []
    for run in runs:
        found = [_replayed(run, policy, np.random.default_rng([seed, trial])) for trial in range(trials)]
        means = {way: _mean_of([one.regrets.get(way) for one in found], ".3f") for way in (*WAYS, FLOOR)}
        means["questionnaire"] += f" ({RULE_OF_THUMB.get(run.data, ('', ''))[1]})"
        cells = [run.data, run.card.primary, f"{found[0].num_raced} of {len(run.card.question_ids)}"]
        cells.append(f"{np.mean([one.share for one in found]):.0%}")
        cells += [_shares(Counter(getattr(one, name) for one in found)) for name in ("arm", "verdict")]
        rows.append([*cells, *means.values()])
        costs.append([run.data, *(_mean_of([one.costs.get(way) for one in found], ".3f") for way in (*WAYS, "best"))])
    _print_table([*head, *regret_head], rows)
    print()
    _print_table(["run", *(f"cost: {way}" for way in WAYS), "cost: the best arm there"], costs)


@dataclass(frozen=True)
class Replayed:
    """One race over half of a run: what it decided at what share of the answers, and by each way of choosing, what is
    lost on the other half and what 1,000 questions cost.
    """

    num_raced: int
    share: float
    arm: str
    verdict: str
    regrets: dict[str, float]
    costs: dict[str, float | None]


def _replayed(run: Finished, policy: Policy, rng: np.random.Generator) -> Replayed:
    pool, rest = _halves(run.card, rng)
    half, untouched = run.card.part(pool), run.card.part(rest)
    there = {row.name: row for row in make_table(untouched, policy).rows}
    best = max(there.values(), key=lambda row: row.score)
    raced = _raced(half.for_churn(policy.traffic.churn), policy)
    decision = recommend(make_table(raced, policy))
    assert raced.race is not None
    picks = {
        "race": decision.arm,
        "whole half": recommend(make_table(half, policy)).arm,
        "always rag": "rag",
        "always tuned": "tuned",
        "questionnaire": RULE_OF_THUMB.get(run.data, ("", ""))[1],
    }
    regrets = {way: best.score - there[pick].score for way, pick in picks.items() if pick in there}
    if FLOOR in untouched.floors:
        known = [value for value in untouched.floors[FLOOR] if value is not None]
        regrets[FLOOR] = best.score - float(np.mean(known))
    costs = {way: there[pick].costs.per_1k for way, pick in picks.items() if pick in there}
    share = raced.race.num_answers / raced.race.num_possible
    return Replayed(len(pool), share, decision.arm, decision.verdict, regrets, {**costs, "best": best.costs.per_1k})


def _mean_of(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(np.mean(known), form) if known else "-"


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(cells) + " |", flush=True)


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count / counts.total():.0%}" for name, count in counts.most_common())


def _halves(card: Scorecard, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    documents = sorted(set(card.clusters))
    taken = {documents[i] for i in rng.permutation(len(documents))[: len(documents) // 2]}
    places = range(len(card.question_ids))
    return [i for i in places if card.clusters[i] in taken], [i for i in places if card.clusters[i] not in taken]


def _raced(card: Scorecard, policy: Policy) -> Scorecard:
    """The scorecard that a race over this one's questions would have ended with."""
    questions = [Question(q, "", ("",), (c,)) for q, c in zip(card.question_ids, card.clusters, strict=True)]
    plan = plan_race(questions, RaceSettings())
    place = {name: i for i, name in enumerate(card.question_ids)}
    asked: dict[str, set[str]] = {scores.arm.name: set() for scores in card.arms}

    def seen(ids: Sequence[str]) -> Scorecard:
        part = card.part([place[name] for name in ids])
        return replace(part, arms=tuple(_hidden(scores, part, asked[scores.arm.name]) for scores in part.arms))

    def ask(arms: Sequence[Arm], batch: Sequence[Question]) -> list[AnswerRecord]:
        for arm in arms:
            asked[arm.name].update(q.id for q in batch)
        return [AnswerRecord(arm.name, q.id, "") for arm in arms for q in batch]

    def look_at(spent: Asked, active: Sequence[str]) -> Look:
        table = make_table(seen([q.id for q in spent.questions]), policy)
        return Look(look(table, active, ends=plan.ends), 0.0)

    raced = run_race([scores.arm for scores in card.arms], plan, ask, look_at)
    return replace(seen([q.id for q in raced.questions]), race=raced.race)


def _hidden(scores: ArmScores, card: Scorecard, asked: set[str]) -> ArmScores:
    """An arm's results without the questions that it was not asked."""
    keep = [name in asked for name in card.question_ids]
    return replace(
        scores,
        scores={
            m: tuple(v if k else None for v, k in zip(values, keep, strict=True)) for m, values in scores.scores.items()
        },
        latency_ms=tuple(v if k else None for v, k in zip(scores.latency_ms, keep, strict=True)),
        prompt_tokens=tuple(v if k else None for v, k in zip(scores.prompt_tokens, keep, strict=True)),
        generated_tokens=tuple(v if k else None for v, k in zip(scores.generated_tokens, keep, strict=True)),
        not_asked=tuple(name for name, k in zip(card.question_ids, keep, strict=True) if not k),
    )


def coverage(runs: Sequence[Finished], trials: int, seed: int, size: int) -> None:
    """Documents are drawn with replacement from a finished run, which thereby is the population that intervals are
    about.
    """
    print(f"{trials} resamples of {size} documents a run: how often 95% intervals contain the run's own value\n")
    print("| run | intervals of | covered | of |")
    print("|---|---|---|---|")
    total: dict[str, list[bool]] = {"an arm": [], "leader minus another": []}
    for run in runs:
        card = run.card
        rows: dict[str, list[int]] = {}
        for i, cluster in enumerate(card.clusters):
            rows.setdefault(cluster, []).append(i)
        documents = list(rows.values())
        columns = [scores.scores[card.primary] for scores in card.arms]
        truths = [row.score for row in make_table(card, Policy()).rows]
        leader = int(np.argmax(truths))
        found: dict[str, list[bool]] = {"an arm": [], "leader minus another": []}
        rng = np.random.default_rng(seed)
        for _ in range(trials):
            drawn = rng.integers(len(documents), size=size)
            places = [(i, str(n)) for n, document in enumerate(drawn) for i in documents[document]]
            clusters = [cluster for _, cluster in places]
            drawn_columns = [[column[i] for i, _ in places] for column in columns]
            for column, truth in zip(drawn_columns, truths, strict=True):
                # An arm that is always right or always wrong has one value, which any interval holds.
                if 0 < truth < 1:
                    found["an arm"].append(_covers(mean_interval(column, clusters), truth))
            for other, column in enumerate(drawn_columns):
                if other != leader and truths[other] != truths[leader]:
                    made = paired_difference(drawn_columns[leader], column, clusters, margin=MARGIN)
                    found["leader minus another"].append(
                        _covers(Interval(made.mean, made.low, made.high), truths[leader] - truths[other])
                    )
        for kind, hits in found.items():
            total[kind] += hits
            print(f"| {run.data} | {kind} | {np.mean(hits):.1%} | {len(hits):,} |", flush=True)
    for kind, hits in total.items():
        print(f"| all | {kind} | {np.mean(hits):.1%} | {len(hits):,} |")


def _covers(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12
