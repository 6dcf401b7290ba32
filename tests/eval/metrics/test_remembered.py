from collections.abc import Callable, Sequence

from eval.answers import AnswerRecord
from eval.metrics.remembered import Remembered
from eval.questions import Question
from eval.scorer import Pair


class Counting:
    """Scores by the text's length and counts what it was asked; answers without text are unscored."""

    names = ("length", "half")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(
        self, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
    ) -> dict[str, list[float | None]]:
        self.asked += [record.text for _, record in pairs]
        lengths = [len(record.text) / 10 if record.text else None for _, record in pairs]
        return {"length": lengths, "half": [None if value is None else value / 2 for value in lengths]}

    def diagnostics(self) -> tuple[str, ...]:
        return (f"asked {len(self.asked)}",)


def pairs(*texts: str) -> list[Pair]:
    return [(Question(f"q{i}", "?", ("a",)), AnswerRecord("rag", f"q{i}", text)) for i, text in enumerate(texts)]


def test_an_answer_is_scored_once_and_every_look_is_aligned() -> None:
    inner = Counting()
    scorer = Remembered(inner)
    assert scorer.score(pairs("a", "bb")) == {"length": [0.1, 0.2], "half": [0.05, 0.1]}
    more = pairs("a", "bb", "ccc")
    assert scorer.score(more[::-1])["length"] == [0.3, 0.2, 0.1]
    assert inner.asked == ["a", "bb", "ccc"]
    assert scorer.diagnostics() == ("asked 2", "asked 3")


def test_what_is_unscored_is_not_asked_again() -> None:
    inner = Counting()
    scorer = Remembered(inner)
    assert [scorer.score(pairs(""))["half"] for _ in range(2)] == [[None], [None]]
    assert inner.asked == [""]


def test_another_text_for_the_same_question_is_another_answer() -> None:
    inner = Counting()
    scorer = Remembered(inner)
    scorer.score(pairs("a"))
    assert scorer.score(pairs("bbbb"))["length"] == [0.4]
