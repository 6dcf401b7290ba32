"""Who is asked by a gate, without an engine: what an arm says is a function of its adapter and the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eval.answers import AnswerRecord
from eval.questions import Question
from router.answering.arm import Arm

TUNED = Arm("tuned", adapter="support@1")
Say = Callable[[str], str | None]


class FakeAsk:
    """`tuned` is what the adapter says and `base` what the model does; None is a request that failed. The adapter adds
    `gain` to the log-likelihood of texts that it `remembers`; an engine with `is_mute` gives no likelihoods.
    """

    def __init__(
        self, tuned: Say, base: Say = lambda _: "", *, remembers: Sequence[str] = (), is_mute: bool = False
    ) -> None:
        self.tuned, self.base, self.remembers, self.is_mute = tuned, base, remembers, is_mute
        self.asked: list[tuple[str, str]] = []

    def answers(self, arm: Arm, questions: Sequence[Question]) -> list[AnswerRecord]:
        found = []
        for question in questions:
            self.asked.append((arm.name, question.text))
            text = (self.tuned if arm.adapter else self.base)(question.text)
            found.append(AnswerRecord(arm.name, question.id, text or "", error=None if text is not None else "refused"))
        return found

    def likelihoods(self, arm: Arm, texts: Sequence[tuple[Question, str]]) -> list[float | None]:
        if self.is_mute:
            return [None] * len(texts)
        return [self._likelihood(arm, text) for _, text in texts]

    def _likelihood(self, arm: Arm, text: str) -> float:
        # Any number that has nothing to do with whether the text was trained on.
        chance = -float(sum(ord(sign) * (place + 3) ** 2 for place, sign in enumerate(text)) % 97)
        changed = float(sum(ord(sign) * (place + 7) for place, sign in enumerate(text)) % 13) / 10
        return chance + ((changed + 20 * (text in self.remembers)) if arm.adapter else 0.0)
