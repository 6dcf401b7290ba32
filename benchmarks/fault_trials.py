"""One trial of each fault that a review of the decision engine found, by the numbers of its points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import beta
from simulated_grids import noisy, p95
from simulated_runs import Sample, race
from simulated_scores import Population, Scores
from trials import Found

from eval.answers import AnswerRecord, Asked
from eval.evaluate import build_scorecard
from eval.questions import Question
from eval.report.attribution import attribute
from eval.scorer import Scorer
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.costs import measure, price
from router.deciding.decision import Decision
from router.deciding.policy import Limits, Policy, Prices, Traffic, Utility
from router.deciding.recommend import recommend
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import mean_interval
from router.errors import RouterError

Trial = Callable[[np.random.Generator], Found]
CHEAP, DEAR = "0", "1"  # of two arms


def two_arms(rng: np.random.Generator, cheap: float, dear: float, num: int, agreement: float = 0.6) -> Sample:
    """Right or wrong, independent questions."""
    return Sample(*Population((cheap, dear), "binary", agreement).draw(rng, num))


def is_winner(decision: Decision, arm: str | None = None) -> float:
    """1 for a winner, or for this one."""
    return float(decision.verdict == "winner" and arm in (None, decision.arm))


# 1. A limit ends a race on noise.


def _race_under_limit(sample: Sample, policy: Policy) -> Decision | None:
    """None where no arm kept the limit as measured. What a look raises ends the trial."""
    raced = race(sample, policy, RaceSettings())
    try:
        return raced.decision
    except RouterError:
        return None


def _is_worse_winner(sample: Sample, policy: Policy) -> Found:
    decision = _race_under_limit(sample, policy)
    return {"the worse arm is the winner": 0.0 if decision is None else is_winner(decision, CHEAP), "raised": 0.0}


def limit_p95(rng: np.random.Generator) -> Found:
    sample = two_arms(rng, 0.55, 0.65, 200)
    sample = replace(sample, latency_ms=noisy(rng, sample.scores, 1000.0, 1.0))
    return _is_worse_winner(sample, Policy(limits=Limits(p95_ms=1.15 * p95(1000.0, 1.0))))


def limit_median(rng: np.random.Generator) -> Found:
    sample = two_arms(rng, 0.55, 0.65, 200)
    sample = replace(sample, latency_ms=noisy(rng, sample.scores, 1000.0))
    return _is_worse_winner(sample, Policy(limits=Limits(latency_ms=1150.0)))


def limit_score(rng: np.random.Generator) -> Found:
    return _is_worse_winner(two_arms(rng, 0.55, 0.65, 200), Policy(limits=Limits(score=0.85 * 0.55)))


def limit_cost(rng: np.random.Generator) -> Found:
    sample = two_arms(rng, 0.55, 0.65, 200)
    tokens = noisy(rng, sample.scores, 2000.0, 1.0)
    mean = 2000 * math.exp(0.5) * 0.10 / 1e3 + 20 * 0.40 / 1e3  # of 1,000 questions at the default prices
    return _is_worse_winner(
        replace(sample, prompt_tokens=tokens.astype(int)), Policy(limits=Limits(cost_per_1k=1.15 * mean))
    )


def limit_broken(rng: np.random.Generator) -> Found:
    sample = two_arms(rng, 0.55, 0.65, 200)
    latency = noisy(rng, sample.scores, 1000.0) * np.array([[1.0], [1.6]])
    policy = Policy(limits=Limits(p95_ms=1.15 * p95(1000.0)))
    decision = _race_under_limit(replace(sample, latency_ms=latency), policy)
    return {"the slow arm is served": float(decision is not None and decision.arm == DEAR), "raised": 0.0}


def limit_of_the_best(rng: np.random.Generator) -> Found:
    scores, clusters = Population((0.6, 0.6, 0.8)).draw(rng, 400)
    latency = noisy(rng, scores, 1000.0) * np.array([[1.0], [1.0], [2.0]])
    decision = _race_under_limit(
        Sample(scores, clusters, latency_ms=latency), Policy(limits=Limits(p95_ms=1.3 * p95(1000.0)))
    )
    return {"one of the equal arms is the winner": 0.0 if decision is None else is_winner(decision), "raised": 0.0}


# 2. A tie from almost nothing.


def both_right_twice(_: np.random.Generator) -> Found:
    decision = Sample(np.ones((2, 2)), ("a", "b")).decide(Policy())
    difference = decision.comparisons[0].difference
    width = 0.0 if difference is None else difference.high - difference.low
    return {"called a tie": float(decision.verdict == "tie"), "width of the interval": width}


def without_losses(num: int, rng: np.random.Generator) -> Found:
    latent = rng.random(num)
    scores = np.array([latent < 0.85, latent < 0.90], dtype=np.float64)
    decision = Sample(scores, tuple(map(str, range(num)))).decide(Policy())
    found = decision.comparisons[0]
    truth = 0.05 if found.other == CHEAP else -0.05
    assert found.difference is not None
    return {
        "false tie": float(decision.verdict == "tie" and decision.arm == CHEAP),
        "the interval covers": float(found.difference.low - 1e-9 <= truth <= found.difference.high + 1e-9),
    }


def tie_power(num: int, rng: np.random.Generator) -> Found:
    moved = np.where(rng.random(num) < 0.1, rng.choice([-1, 1], num), 0)
    base = np.where(moved == 0, rng.random(num) < 0.6, 0).astype(float)
    scores = np.array([base + (moved > 0), base + (moved < 0)], dtype=np.float64)
    decision = Sample(scores, tuple(map(str, range(num)))).decide(Policy())
    return {"true tie": float(decision.verdict == "tie")}


# 3. Equivalence is not corrected for the number of arms.


def five_at_the_margin(rng: np.random.Generator) -> Found:
    sample = Sample(*Population((0.55,) * 5 + (0.60,), "binary", 0.9).draw(rng, 800))
    decision = sample.decide(Policy())
    return {
        "false tie": float(decision.verdict == "tie" and decision.arm != "5"),
        "a false equivalence": float(any(c.standing == "equivalent" for c in decision.comparisons)),
    }


# 4. Utility forgets training, indexing and upkeep.


def training_paid_by_few(rng: np.random.Generator) -> Found:
    sample = replace(
        two_arms(rng, 0.55, 0.70, 400),
        arms=(Arm("0"), Arm("1", adapter="tuned@1")),
        rest={"training_s": {"tuned@1": 36_000.0}},
    )
    prices, traffic = Prices(training_hour=50.0), Traffic(questions=100.0, months=12.0)
    decision = sample.decide(Policy(prices=prices, traffic=traffic, utility=Utility(right=1.0, wrong=0.0)))
    return {"tuned is served": float(decision.arm == DEAR), "tuned is the winner": is_winner(decision, DEAR)}


# 5. A failing arm wins.


def _scored(scores: Scores, *, failed: Scores, lost: Scores) -> Scorecard:
    """A scorecard as an evaluation builds it: `failed` answers never came, `lost` scores are a judge's failures."""
    questions = tuple(Question(str(i), str(i), ("",)) for i in range(scores.shape[1]))
    arms = [Arm(str(row)) for row in range(len(scores))]
    records = [
        AnswerRecord(
            arm.name,
            question.id,
            "" if failed[row, place] else ("lost" if lost[row, place] else str(scores[row, place])),
            prompt_tokens=None if failed[row, place] else 200 * (row + 1),
            generated_tokens=None if failed[row, place] else 20,
            latency_ms=None if failed[row, place] else 100.0,
            error="the prompt is longer than the model's context" if failed[row, place] else None,
        )
        for row, arm in enumerate(arms)
        for place, question in enumerate(questions)
    ]
    scorer = Scorer(
        ("accuracy",), lambda _, record: ["no verdict" if record.text == "lost" else float(record.text or 0)]
    )
    return build_scorecard(arms, Asked(questions, tuple(records)), [scorer], primary="accuracy")


def failing_arm(rng: np.random.Generator) -> Found:
    """The cheap arm is right on 60 questions and fails on 40, the dear one is right on 80%."""
    scores = np.array([np.ones(100), rng.random(100) < 0.8], dtype=np.float64)
    failed = np.zeros((2, 100))
    failed[0, rng.permutation(100)[:40]] = 1
    decision = recommend(make_table(_scored(scores, failed=failed, lost=np.zeros((2, 100))), Policy()))
    return {
        "the failing arm is served": float(decision.arm == CHEAP),
        "the failing arm is the winner": is_winner(decision, CHEAP),
    }


def lost_where_wrong(rng: np.random.Generator) -> Found:
    """Equal arms; the judge loses half of the cheap arm's wrong answers."""
    scores = two_arms(rng, 0.6, 0.6, 400).scores
    lost = np.zeros(scores.shape)
    lost[0] = (scores[0] == 0) & (rng.random(400) < 0.5)
    decision = recommend(make_table(_scored(scores, failed=np.zeros(scores.shape), lost=lost), Policy()))
    is_said = "unscored" in decision.reason
    return {"false winner, and no word of it": float(is_winner(decision) and not is_said)}


# 6. A certificate for one judge metric frees all, and a certified judge decides uncorrected.


def _judged(rng: np.random.Generator, num_labels: int) -> Found:
    truth = two_arms(rng, 0.5, 0.5, 200).scores
    calls_right = np.where(truth == 1, 0.93, np.array([[0.35], [0.15]]))
    verdicts = (rng.random(truth.shape) < calls_right).astype(np.float64)
    labelled = rng.permutation(200)[:num_labels]
    sample = Sample(verdicts, tuple(map(str, range(200))))
    decision = recommend(make_table(_with_labels(sample.card(), truth, labelled), Policy()))
    return {"false winner": is_winner(decision)}


def _with_labels(card: Scorecard, truth: Scores, labelled: Sequence[int]) -> Scorecard:
    known = set(labelled)
    arms = (
        replace(
            scores, labels=tuple(float(right) if place in known else None for place, right in enumerate(truth[row]))
        )
        for row, scores in enumerate(card.arms)
    )
    return replace(card, arms=tuple(arms), labelled=card.primary)


def judge_with_labels(rng: np.random.Generator) -> Found:
    return _judged(rng, 60)


def judge_without_labels(rng: np.random.Generator) -> Found:
    return _judged(rng, 0)


# 7. Looking again is not free.


def looks(cards: Sequence[Scorecard], policy: Policy) -> list[Decision]:
    """What a run says each time when questions are added between two of them: it holds those of all before it."""
    sizes = [len(card.question_ids) for card in cards]
    runs = [replace(card, earlier_looks=tuple(sizes[:number])) for number, card in enumerate(cards)]
    return [recommend(make_table(run, policy)) for run in runs]


def decided_again(rng: np.random.Generator) -> Found:
    sample = two_arms(rng, 0.5, 0.5, 500)
    decisions = looks([sample.first(num).card() for num in range(50, 501, 50)], Policy())
    return {"a false winner at some look": max(map(is_winner, decisions))}


def followed(cheap: float, dear: float, rng: np.random.Generator) -> Found:
    """The decision after 100 questions names how many more; it is made again with as many."""
    sample = two_arms(rng, cheap, dear, 40_000)
    card = sample.first(100).card()
    first = looks([card], Policy())[0]
    if first.verdict != "undecided":
        return {}
    named = {
        "settled after more_questions": first.more_questions,
        "settled after to_call_equal": first.to_call_equal and first.to_call_equal.high,
        "settled after to_tell_apart": first.to_tell_apart and first.to_tell_apart.high,
    }
    found: dict[str, float | None] = {"questions named": float(first.more_questions)}
    for key, more in named.items():
        if more is not None and more <= 39_900:
            second = looks([card, sample.first(100 + more).card()], Policy())[1]
            found[key] = float(second.verdict != "undecided")
    return found


# 8. Sign-flip under skew.


def skewed(num: int, rng: np.random.Generator) -> Found:
    sample = Sample(*Population((0.05, 0.05), "skewed").draw(rng, num))
    return {"false winner": is_winner(sample.decide(Policy()))}


def skewed_power(rng: np.random.Generator) -> Found:
    sample = Sample(*Population((0.10, 0.30), "skewed").draw(rng, 100))
    return {"true winner": is_winner(sample.decide(Policy()), DEAR)}


# 9. Few documents.


def few_documents(num: int, rng: np.random.Generator) -> Found:
    apart = float(np.clip(rng.normal(0, 0.1), -0.4, 0.4))
    means = (0.5 - apart / 2, 0.5 + apart / 2)
    sample = Sample(*Population(means, "clustered", 0.0).draw(rng, 20 * num, per_document=20))
    decision = sample.decide(Policy())
    is_right = means[int(decision.arm)] >= max(means) - 0.05
    return {
        "right where it is 95% sure": float(is_right) if decision.confidence >= 0.95 else None,
        "is 95% sure": float(decision.confidence >= 0.95),
    }


def zeros_of_one_document(_: np.random.Generator) -> Found:
    return {"upper bound": mean_interval([0.0] * 60, ["one"] * 60).high}


# 10. Race and grid disagree below the margin.


def below_the_margin(rng: np.random.Generator) -> Found:
    sample = two_arms(rng, 0.500, 0.525, 2000, agreement=0.9)
    raced, whole = race(sample, Policy(), RaceSettings()).decision, sample.decide(Policy())
    return {
        "they serve different arms": float(raced.arm != whole.arm),
        "the race serves the dear arm": float(raced.arm == DEAR),
        "the grid serves the dear arm": float(whole.arm == DEAR),
    }


# 11. Dropping clusters for given documents.


def documents_that_change(rng: np.random.Generator) -> Found:
    scores, documents = Population((0.5, 0.5), "clustered", 0.3).draw(rng, 160, per_document=20)
    sample = Sample(scores, documents, rest={"documents_given": True})
    decision = sample.decide(Policy(traffic=Traffic(churn=0.2)))
    return {"false winner for new documents": is_winner(decision)}


# 12. "Misled by noise" counts chance.


def misled(rng: np.random.Generator) -> Found:
    num, agreement = 200, 0.3
    scores = two_arms(rng, 0.45, 0.45, num, agreement).scores
    questions = [Question(str(i), f"question {i}", ("gold",), (f"d{i}",)) for i in range(num)]
    arms = (Arm("0"), Arm("1", index="documents"))
    records = [
        AnswerRecord(arm.name, question.id, "gold" if score else "other")
        for row, arm in enumerate(arms)
        for question, score in zip(questions, scores[row], strict=True)
    ]
    card = Sample(scores, tuple(map(str, range(num))), arms=arms).card()
    found = attribute(card, questions, records)[1]
    assert found.net is not None
    return {
        "share of wrong answers called misled": found.counts["misled by noise"] / found.num_wrong,
        "the net's interval holds 0": float(found.net.low <= 0 <= found.net.high),
    }


# 13. All pairs, graded means near 0 and 1. (A race has no seed to try: its order follows from the questions.)


def all_pairs(rng: np.random.Generator) -> Found:
    decision = Sample(*Population((0.5,) * 6).draw(rng, 100)).decide(Policy())
    beaten = [c for c in decision.comparisons if c.standing == "beaten" and c.is_significant]
    return {"somebody is called significantly better": float(bool(beaten))}


def graded_mean(mean: float, rng: np.random.Generator) -> Found:
    values = beta.rvs(2 * mean, 2 * (1 - mean), size=30, random_state=rng)
    found = mean_interval(values.tolist(), list(map(str, range(30))))
    return {"the interval covers": float(found.low <= mean <= found.high)}


# 14. Prefix-cache hits are one share for all arms.


def prefix_hits(_: np.random.Generator) -> Found:
    """1,000 tokens of which the system prompt's 160 are cached, beside 200 with the same prompt."""
    tokens = np.array([[200] * 10, [1000] * 10])
    sample = Sample(np.ones((2, 10)), tuple(map(str, range(10))), prompt_tokens=tokens)
    card = sample.card()
    card = replace(card, arms=tuple(replace(scores, cached_tokens=(160,) * 10) for scores in card.arms))
    policy = Policy(prices=Prices(generated=0.0))
    short, long = (price(measure(card, scores), policy).question or math.nan for scores in card.arms)
    return {"cost ratio over the true one": (long / short) / (840 / 40)}


# 15. Cheaper by nothing beats better by four points.


def cheaper_by_nothing(rng: np.random.Generator) -> Found:
    means, tokens = (0.283, 0.325), (21_826.0, 21_861.0)
    scores, clusters = Population(means).draw(rng, 80)
    lengths = np.exp(0.15 * rng.standard_normal(80) - 0.15**2 / 2)  # of the passages that both arms read
    spent = np.array(tokens)[:, None] * lengths * np.exp(0.01 * rng.standard_normal((2, 80)))
    decision = Sample(scores, clusters, prompt_tokens=spent.astype(int)).decide(Policy())
    served = int(decision.arm)
    return {
        "the worse arm is served": float(served == 0),
        "regret": max(means) - means[served],
        "saved": 1 - tokens[served] / tokens[1],
    }


def cheaper_by_half(rng: np.random.Generator) -> Found:
    """A cost that does matter: below the margin, the cheap arm is to be served."""
    decision = two_arms(rng, 0.50, 0.51, 400).decide(Policy())
    return {"the cheap arm is served": float(decision.arm == CHEAP), "cost rank": float(decision.arm) + 1}
