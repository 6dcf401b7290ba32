"""A scorer that is asked about every answer once: a race looks at the answers so far again and again.

scorer = Remembered(JudgeScorer(...))
"""

from __future__ import annotations

from collections.abc import Sequence

from eval.scorer import Pair, Progress, Scorer


class Remembered:
    """Has every answer scored once, knowing it by arm, question and text; unscored ones are not asked about again."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[tuple[str, str, str], dict[str, float | None]] = {}
        self._diagnostics: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The inner scorer's metrics."""
        return self._scorer.names

    def score(self, pairs: Sequence[Pair], progress: Progress | None = None) -> dict[str, list[float | None]]:
        """Scores of every answer, aligned with `pairs`."""
        new = {place: pair for pair in pairs if (place := _place(pair)) not in self._known}
        if new:
            columns = self._scorer.score(list(new.values()), progress)
            for row, place in enumerate(new):
                self._known[place] = {name: columns[name][row] for name in self.names}
            self._diagnostics += self._scorer.diagnostics()
        return {name: [self._known[_place(pair)][name] for pair in pairs] for name in self.names}

    def diagnostics(self) -> tuple[str, ...]:
        """Those of every time the inner scorer was asked."""
        return tuple(self._diagnostics)


def _place(pair: Pair) -> tuple[str, str, str]:
    question, record = pair
    return record.arm, question.id, record.text
