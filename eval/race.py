"""A race: questions are spent in batches, arms that are shown to be worse drop out, and it ends when the choice is
settled.

    plan = plan_race(questions, settings)
    raced = run_race(arms, plan, ask, look)

What a look says is `router/deciding/racing.py`. The order of the questions follows from the questions themselves, so
that nobody can try orders until one of them pleases. Answers are cached, so a race that was stopped is replayed from
the cache and goes on.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.answers import AnswerRecord, Asked
from eval.errors import EvalError
from eval.questions import Question
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.deciding.racing import Ruling
from router.deciding.scorecard import Drop, RaceRecord, Stop
from storage.hashes import content_hash

_LOOKS = 30
# So few questions come in batches of this size: a larger one would be a larger share of them.
_FEW, _SMALLEST = 150, 2
# Asks these arms these questions; the records come arm by arm.
Ask = Callable[[Sequence[Arm], Sequence[Question]], list[AnswerRecord]]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the answers so far gave: the ruling, and what all answers cost."""

    ruling: Ruling
    cost: float


@dataclass(frozen=True, slots=True)
class RacePlan:
    """Which questions each batch spends, and which are held out; a source document's questions stay together."""

    batches: tuple[tuple[Question, ...], ...]
    held_out: tuple[Question, ...]
    largest: int
    settings: RaceSettings

    @property
    def ends(self) -> tuple[int, ...]:
        """How many questions are spent at each look."""
        return tuple(itertools.accumulate(map(len, self.batches)))

    @property
    def num_questions(self) -> int:
        """Questions that the race and its held-out part can spend."""
        return sum(len(batch) for batch in self.batches) + len(self.held_out)


def plan_race(
    questions: Sequence[Question], settings: RaceSettings, clusters: Mapping[str, str] | None = None
) -> RacePlan:
    """Shuffle whole source documents, keep the held-out share aside, and cut the rest into batches.

    A batch is a thirtieth of the questions, 2 of fewer than 150, and at most `settings.batch`. `clusters` maps question
    ids to what stays together, by default the source document. A budget in questions takes that many of the shuffled
    ones. Raises EvalError when it does not allow one batch.
    """
    documents: dict[str, list[Question]] = {}
    for question in questions:
        documents.setdefault((clusters or {}).get(question.id, question.cluster), []).append(question)
    groups = [documents[name] for name in sorted(documents)]
    random.Random(content_hash(*sorted(f"{question.id}\n{question.text}" for question in questions))).shuffle(groups)
    cap = settings.max_questions
    total = min(len(questions), cap or len(questions))
    size = min(settings.batch, total // _LOOKS if total >= _FEW else _SMALLEST)
    if cap is not None and cap < size:
        raise EvalError(f"race.max_questions ({cap}) is smaller than one batch of {size}; raise it")
    if cap is not None:
        groups = _first(groups, cap)
    if not groups:
        raise EvalError("no document's questions fit into the budget of questions; raise race.max_questions")
    total = sum(len(group) for group in groups)
    # One batch at least is raced, so a handful of questions leaves nothing to hold out.
    wanted = min(int(settings.held_out * total), max(total - size, 0))
    held = _first(groups[::-1], wanted)
    batches: list[list[Question]] = [[]]
    for group in groups[: len(groups) - len(held)]:
        if len(batches[-1]) >= size:
            batches.append([])
        batches[-1].extend(group)
    return RacePlan(
        batches=tuple(tuple(batch) for batch in batches),
        held_out=tuple(question for group in held for question in group),
        largest=max(len(group) for group in groups),
        settings=settings,
    )


def run_race(
    arms: Sequence[Arm],
    plan: RacePlan,
    ask: Ask,
    look: Callable[[Asked, Sequence[str]], Look],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Asked:
    """Spend the batches until the choice is settled, no arm is left, or questions or budget are spent; then ask the two
    finalists the held-out questions, which stand last in what is given.

    `look(asked, active)` scores what is known so far. An arm that was beaten by one that may not be served comes back,
    and is asked what it missed: when that is shown, or at the last question.
    Raises what `ask` raises, with every answer so far in the cache.
    """
    started = clock()
    spent: list[Question] = []
    records: list[AnswerRecord] = []
    drops: list[Drop] = []
    ruled_out: set[str] = set()
    stopped: Stop = "questions spent"
    cap: str | None = None
    seen = Look(Ruling(), 0.0)

    def active() -> list[str]:
        gone = {drop.arm for drop in drops}.union(ruled_out)
        return [arm.name for arm in arms if arm.name not in gone]

    def cap_reached(num_answers: int, num_left: int) -> str | None:
        """The first cap that so many answers more, and then those of the finalists, would break, taking them to be like
        those so far.
        """
        expected = num_answers + min(num_left, 2) * len(plan.held_out)
        share, caps = 1 + expected / len(records), plan.settings
        counted = records if caps.max_tokens is not None else []
        tokens = sum((record.prompt_tokens or 0) + (record.generated_tokens or 0) for record in counted)
        taken = {
            "minutes": ((clock() - started) / 60, caps.max_minutes),
            "tokens": (tokens, caps.max_tokens),
            "cost": (seen.cost, caps.max_cost),
        }
        return next(
            (name for name, (so_far, most) in taken.items() if most is not None and share * so_far > most), None
        )

    def missed(arm: Arm) -> list[Question]:
        """What was spent and not put to it."""
        known = {record.question_id for record in records if record.arm == arm.name}
        return [question for question in spent if question.id not in known]

    for batch in plan.batches:
        if spent and (cap := cap_reached(len(active()) * len(batch), len(active()))):
            break
        records += ask([arm for arm in arms if arm.name in active()], batch)
        spent += batch
        while True:
            seen = look(Asked(tuple(spent), tuple(records)), active())
            drops += seen.ruling.drops
            ruled_out.update(seen.ruling.ruled_out)
            unfit = ruled_out.union(seen.ruling.excluded if len(spent) == plan.ends[-1] else ())
            back = [arm for arm in arms if any(arm.name == drop.arm and drop.beaten_by in unfit for drop in drops)]
            num_left = len(active()) + len(back)
            if not back or (cap := cap_reached(sum(len(missed(arm)) for arm in back), num_left)):
                break
            drops = [drop for drop in drops if drop.beaten_by not in unfit]
            for arm in back:
                records += ask([arm], missed(arm))
        if cap or not active() or seen.ruling.served is not None:
            left = len(active())
            stopped = "within the margin" if left > 1 else "one arm left" if left else "no arm left"
            break
    stopped = "budget spent" if cap else stopped
    ranking = seen.ruling.ranking
    served = seen.ruling.served or ranking[0]
    finalists = {served, next((name for name in ranking if name != served), served)}
    held_out = plan.held_out
    if held_out and (over := cap_reached(0, len(finalists))):
        held_out, cap, stopped = (), over, "budget spent"
    records += ask([arm for arm in arms if arm.name in finalists], held_out)
    return Asked(
        questions=(*spent, *held_out),
        records=tuple(records),
        race=RaceRecord(
            ends=plan.ends,
            num_raced=len(spent),
            held_out=tuple(question.id for question in held_out),
            drops=tuple(drops),
            stopped=stopped,
            num_answers=len(records),
            num_possible=len(arms) * plan.num_questions,
            budget=cap,
            largest=plan.largest,
        ),
    )


def _first(groups: Sequence[list[Question]], limit: int) -> list[list[Question]]:
    """The first whole groups that together hold at most `limit` questions."""
    totals = itertools.accumulate(map(len, groups))
    return [group for group, total in zip(groups, totals, strict=True) if total <= limit]
