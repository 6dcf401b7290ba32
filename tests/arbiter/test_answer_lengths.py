from pathlib import Path

import pytest

from arbiter.answer_lengths import AnswerLengths, measure, token_counter
from arbiter.config.schema import Config
from eval.questions import Question


def words(text: str) -> int:
    return len(text.split())


def lengths(*trained: int, asked: tuple[int, ...] = (1,)) -> AnswerLengths:
    return AnswerLengths(trained, asked, is_exact=True)


@pytest.mark.parametrize(
    ("trained", "max_model_len", "room"),
    [
        ((3,) * 20, 2048, 32),  # short answers keep the floor
        ((40,) * 19 + (400,), 2048, 56),  # the longest one in twenty is cut: 1.25 * 40 + 1 = 51, in eights 56
        ((40,) * 18 + (400,) * 2, 2048, 504),  # two in twenty are not: 501, in eights 504
        ((4000,) * 20, 2048, 512),  # a quarter of the context, prompt and passages need the rest
        ((3,) * 20, 64, 16),
    ],
)
def test_room_follows_the_95th_percentile_between_floor_and_context(
    trained: tuple[int, ...], max_model_len: int, room: int
) -> None:
    assert lengths(*trained).max_tokens(max_model_len) == room


def test_without_training_rows_the_golds_say_it() -> None:
    found = lengths(asked=(80, 80))
    assert found.max_tokens(2048) == 104
    assert found.notes(Config(data=Path("d"))) == [
        "answers may have 104 tokens (sampling.max_tokens): 95% of the questions' answers have 80 or fewer"
    ]


def test_the_shortest_gold_of_a_question_counts() -> None:
    examples = [Question("t", "?", ("a b c",))]
    questions = [Question("q", "?", ("a b c d", "a b"))]
    assert measure(examples, questions, words) == AnswerLengths((3,), (2,), is_exact=True)
    # Nine letters are about three tokens.
    assert measure([Question("t", "?", ("ninechars",))], questions, None) == AnswerLengths((3,), (1,), is_exact=False)


def test_golds_that_do_not_fit_are_told_for_each_room_of_the_arms() -> None:
    config = Config.model_validate(
        {
            "data": "d",
            "arms": {"rag": {"sampling": {"max_tokens": 8}}, "base": {"sampling": {"temperature": 0.5}}}
            | dict.fromkeys(("fewshot", "tuned", "tuned_rag", "hybrid")),
        }
    )
    # The end of an answer is a token, too: eight tokens leave room for seven.
    _, *notes = lengths(30, asked=(7, 8, 39)).notes(config)
    assert notes == [
        "2 of 3 questions have no gold answer of fewer than 8 tokens (39 for the longest), so rag cannot give it in "
        "full: raise sampling.max_tokens",
    ]


def test_a_model_that_is_not_here_counts_nothing(tmp_path: Path) -> None:
    assert token_counter("") is None
    assert token_counter(str(tmp_path / "none")) is None
    assert token_counter(str(tmp_path)) is None


def test_tokens_are_counted_as_the_model_does(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"nine": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count = token_counter(str(tmp_path))
    assert count is not None
    assert count("nine or ten") == 3
