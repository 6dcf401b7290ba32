from pathlib import Path

import pytest

from arbiter.askable import askable_arms, needs_examples
from arbiter.config import Config
from arbiter.data import Data
from rag.documents.document import Document
from storage.errors import ArbiterError
from tuning.data.examples import Example

DOCUMENT, EXAMPLE = Document("d", "", "text"), Example("t", "?", "a")


def data(*, documents: bool = True, examples: bool = True) -> Data:
    return Data(Path("team"), (DOCUMENT,) * documents, (), (EXAMPLE,) * examples, ())


@pytest.mark.parametrize(
    ("documents", "examples", "arms"),
    [
        (True, True, ["base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"]),
        (False, True, ["base", "fewshot", "tuned"]),
        (True, False, ["base", "rag"]),
        (False, False, ["base"]),
    ],
)
def test_arms_are_left_out_for_want_of_a_part(documents: bool, examples: bool, arms: list[str]) -> None:
    config, notes = askable_arms(Config(data=Path("team")), data(documents=documents, examples=examples))
    assert list(config.arms) == arms
    assert len(notes) == 2 - documents - examples


def test_raft_rows_need_documents_even_where_the_arm_retrieves_none() -> None:
    only = dict.fromkeys(("fewshot", "rag", "tuned", "tuned_rag", "hybrid"))
    config = Config.model_validate({"data": "team", "arms": {**only, "mine": {"adapter": "raft"}}})
    assert list(askable_arms(config, data(documents=False))[0].arms) == ["base"]


def test_a_part_that_no_arm_needs_is_not_missed() -> None:
    only = dict.fromkeys(("fewshot", "rag", "tuned", "tuned_rag", "hybrid"))
    config = Config.model_validate({"data": "team", "arms": only})
    assert askable_arms(config, data(documents=False, examples=False)) == (config, ())
    assert not needs_examples(config)
    assert needs_examples(Config(data=Path("team")))


def test_no_arm_left_is_an_error_that_says_why() -> None:
    config = Config.model_validate({"data": "team", "arms": {"base": None}})
    with pytest.raises(ArbiterError, match=r"no arm can be asked: no documents .*; no training rows"):
        askable_arms(config, data(documents=False, examples=False))
