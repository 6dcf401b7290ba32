"""The preferences of a data folder: answers to learn, and pairs that are measured on and never learned.

found = load_preferences(folder, sets, limits)
parts = found.divided(0.1, needs_dev=True)
parts.pairs, parts.rated, parts.dev, parts.held_out
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from arbiter.config.sections import LimitsConfig
from eval.question_sets import QuestionSets
from eval.questions import Question, plain_turns
from eval.repeats import NEAR_PERCENT, find_near_repeats
from storage.hashes import content_hash
from tuning.data.examples import sample
from tuning.data.feedback import Feedback, RatedAnswer, load_feedback, prompt_key
from tuning.data.layouts import find_part
from tuning.data.pairs import PreferencePair

# Of fewer prompts none is taken.
_FEWEST = 6

Said = TypeVar("Said", PreferencePair, RatedAnswer)


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs and rated answers to learn; `dev` pairs answer dev questions, and `held_out` ones evaluation questions."""

    pairs: tuple[PreferencePair, ...] = ()
    rated: tuple[RatedAnswer, ...] = ()
    dev: tuple[PreferencePair, ...] = ()
    held_out: tuple[PreferencePair, ...] = ()

    def divided(self, share: float, *, needs_dev: bool) -> Preferences:
        """The same, where there are no pairs to measure on with a share of the prompts taken for them: always the same
        ones. Without `needs_dev` no dev pairs are.
        """
        found = self if needs_dev else replace(self, dev=())
        if not found.held_out:
            found = found._taking(share, "held out", lambda taken: {"held_out": taken})
        if needs_dev and not found.dev:
            found = found._taking(share, "dev", lambda taken: {"dev": taken})
        return found

    def _taking(
        self, share: float, called: str, place: Callable[[tuple[PreferencePair, ...]], dict[str, object]]
    ) -> Preferences:
        prompts = {prompt_key(pair.prompt) for pair in self.pairs}
        # Two at least, if any: one says nothing of how far off it may be.
        count = max(round(share * len(prompts)), 2) if share and len(prompts) >= _FEWEST else 0
        taken = set(sorted(prompts, key=lambda prompt: content_hash(called, prompt))[:count])
        of_taken = tuple(pair for pair in self.pairs if prompt_key(pair.prompt) in taken)
        return replace(self, pairs=_without(self.pairs, taken), rated=_without(self.rated, taken), **place(of_taken))  # type: ignore[arg-type]


def load_preferences(
    folder: Path, sets: QuestionSets, limits: LimitsConfig, *, seed: int = 0
) -> tuple[Preferences, tuple[str, ...]]:
    """The preferences in pairs.* or else train.*, and in test.* and dev.*, and what was done, a line each.

    What answers an evaluation question is held out, whichever file it is in; what nearly asks one, or asks a guard
    question, is left out, and of test.* and dev.* nothing is learned. Raises TuningError for faulty rows.
    """
    first = find_part(folder, "pairs") or find_part(folder, "train") or find_part(folder, "questions")
    others = {path for path in (find_part(folder, "test"), find_part(folder, "dev")) if path is not None} - {first}
    notes: list[str] = []
    own = load_feedback(first, limits.columns, say=notes.append) if first is not None else Feedback()
    # What was found in a file of questions was said when its questions were read.
    asked = [load_feedback(path, limits.columns) for path in sorted(others)]
    kinds = _kinds([rated for one in (own, *asked) for rated in one.rated], sets, limits)
    left_out = sum(kind == "left out" for kind in kinds.values())
    if left_out:
        notes.append(
            f"{left_out} prompts of preferences that ask a guard question, or at least {NEAR_PERCENT:.0f}% the same as "
            f"an evaluation or dev question with the same answer, are left out (limits.near_repeats="
            f"{limits.near_repeats})"
        )

    def of_kind(rows: Sequence[Said], kind: str) -> tuple[Said, ...]:
        return tuple(row for row in rows if kinds[prompt_key(row.prompt)] == kind)

    pairs = sample(of_kind(own.pairs, "learned"), limits.train_rows, seed)
    rated = sample(of_kind(own.rated, "learned"), limits.train_rows, seed)
    every = [pair for one in (own, *asked) for pair in one.pairs]
    return Preferences(pairs, rated, dev=of_kind(every, "dev"), held_out=of_kind(every, "held out")), tuple(notes)


def _kinds(rated: Sequence[RatedAnswer], sets: QuestionSets, limits: LimitsConfig) -> dict[str, str]:
    """What becomes of each prompt."""
    answers: dict[str, list[str]] = {}
    for one in rated:
        answers.setdefault(prompt_key(one.prompt), []).append(one.answer)
    asked = {prompt_key(one.prompt): one.prompt for one in rated}
    as_questions = {
        key: Question(key, str(last["content"]), tuple(answers[key]), history=tuple(before))
        for key, (*before, last) in asked.items()
    }
    known = {"held out": sets.questions, "dev": sets.dev, "left out": sets.guard}
    kind_of = {plain_turns(question): kind for kind, questions in known.items() for question in questions}
    kinds = {key: kind_of.get(plain_turns(question), "learned") for key, question in as_questions.items()}
    if limits.near_repeats == "drop":
        learned = [as_questions[key] for key, kind in kinds.items() if kind == "learned"]
        kinds |= dict.fromkeys(find_near_repeats(learned, (*sets.questions, *sets.dev)), "left out")
    return kinds


def _without(rows: tuple[Said, ...], prompts: set[str]) -> tuple[Said, ...]:
    return tuple(row for row in rows if prompt_key(row.prompt) not in prompts)
