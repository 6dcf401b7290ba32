from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.teams import pipeline_of, write_folder

from arbiter.data_stage.check import check_data, read_terms
from arbiter.pipeline import Pipeline
from storage.errors import ArbiterError
from tests.arbiter.data_stage.conftest import ROWS, TEST
from tuning.data.bias import GENDER

# Presidio, torch and a tokenizer.
pytestmark = pytest.mark.slow

QUIET = ("embedding.langchain.factory=fakes.teams:WordEmbeddings", *(f"arms.{a}=null" for a in ("hybrid", "fewshot")))


def opened(folder: Path, base: Path, *overrides: str) -> Pipeline:
    return pipeline_of(folder, folder.parent / "home", *QUIET, f"model={base}", *overrides)[0]


def test_everything_about_a_sound_folder_is_known(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=ROWS, test=TEST)
    (text, fact), faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert faults == []
    assert [(part["part"], part["rows"]) for part in fact["parts"]] == [("train", 8), ("test", 1)]
    assert fact["labels"]["train"]["counts"] == {"arrival": 4, "fee": 2, "limit": 2}
    assert fact["repeats"]["train"] == {"exact": 1, "near": 0, "near_of_label": {}}
    assert fact["tokens"]["adapter"] == "closed_book"
    assert sum(one["rows"] for one in fact["tokens"]["histogram"]) == 8
    assert fact["personal_data"]["train"]["found"] == {}
    assert (fact["bias"]["num_rows"], fact["forecast"]) == ((1, 2), {})
    assert "train: repeats" in text


def test_what_a_run_would_refuse_is_a_fault_and_the_rest_is_still_said(tmp_path: Path, tiny_base: Path) -> None:
    leak = {"id": "leak", "question": "WHERE is my card", "answers": ["x"]}
    folder = write_folder(tmp_path / "rows", train=[*ROWS, leak], test=[*TEST, {"question": "Who?"}])
    (_, fact), faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert len(faults) == 1
    assert "test.jsonl: 1 faulty questions: line 2" in faults[0]
    assert fact["leaks"][0] == {"part": "train", "of": "test", "exact": 1, "near": 0, "near_of_label": {}}
    folder = write_folder(tmp_path / "rows", train=[*ROWS, leak], test=TEST)
    _, faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert faults[0].startswith("1 training rows repeat an evaluation question: 'leak' repeats 'q0'")
    assert check_data(opened(folder, tiny_base, "limits.repeats=drop"), terms=GENDER)[1] == []


def test_rows_that_are_all_too_long_are_a_fault(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=ROWS, test=TEST)
    pipeline = opened(folder, tiny_base, "adapters.closed_book.max_length=8")
    (_, fact), faults = check_data(pipeline, terms=GENDER)
    assert fact["tokens"]["over"] == 8
    assert faults == ["all 8 rows are longer than adapters.closed_book.max_length (8)"]


def test_without_training_rows_or_arms_the_questions_are_looked_at(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=None, test=TEST)
    (_, fact), faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert faults == []
    assert "tokens" not in fact
    folder = write_folder(tmp_path / "pool", train=ROWS, test=None)
    (_, fact), _ = check_data(opened(folder, tiny_base, "arms.tuned=null", "arms.tuned_rag=null"), terms=GENDER)
    assert fact["tokens"]["unknown"].startswith("no arm answers with an adapter")


def test_preferences_are_looked_at_and_equal_sides_are_a_fault(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=ROWS, test=TEST)
    pair = '{"prompt": "hi", "chosen": "yes", "rejected": "no"}\n'
    (folder / "pairs.jsonl").write_text(pair)
    (text, fact), faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert (faults, fact["feedback"]["pairs"]) == ([], 1)
    assert "2 answers that are wanted or not, and 1 pairs of them, in pairs.jsonl" in text
    (folder / "pairs.jsonl").write_text(pair + pair.replace("no", "yes"))
    (text, _), faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert "line 2: `chosen` and `rejected` are the same" in faults[-1]
    assert "pairs: fault" in text


def test_documents_alone_are_no_fault_of_a_race(tmp_path: Path, tiny_base: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "docs.jsonl").write_text('{"id": "d", "text": "The desk opens at nine."}\n')
    _, faults = check_data(opened(folder, tiny_base), terms=GENDER)
    assert [fault for fault in faults if "race" in fault] == []
    assert "arbiter data generate" in faults[-1]


def test_a_forecast_says_seconds_energy_and_price(tmp_path: Path, tiny_base: Path) -> None:
    folder = write_folder(tmp_path / "rows", train=ROWS, test=TEST)
    priced = ("energy.power_w=50", "policy.prices.training_hour=3.6", "adapters.closed_book.rank=4")
    (text, fact), _ = check_data(opened(folder, tiny_base, *priced), terms=GENDER, has_forecast=True)
    found: dict[str, Any] = fact["forecast"]["trainings"]["closed_book"]
    assert found["seconds"] > 0
    assert found["kwh"] == pytest.approx(found["seconds"] * 50 / 3.6e6, rel=0.2, abs=1e-6)
    assert found["cost"] == pytest.approx(found["seconds"] / 1000, rel=0.2, abs=1e-4)
    assert "50 W (energy.power_w)" in text


def test_words_of_other_groups_are_read(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("jung,alt\n\nJunge,Alte\njunger , alter\n", encoding="cp1252")
    terms = read_terms(path)
    assert (terms.groups, terms.pairs) == (("jung", "alt"), (("junge", "alte"), ("junger", "alter")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read '.*words.csv': No such file"),
        ("", "words.csv' is no pair; write the two groups"),
        ("a,b\n", "words.csv' is no pair"),
        ("a,b\nx\n", "row 2 of '.*words.csv' is no pair"),
        ("a,b\nx,\n", "row 2 of '.*words.csv' is no pair"),
    ],
)
def test_words_that_are_no_pairs_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "words.csv").write_text(text)
    with pytest.raises(ArbiterError, match=message):
        read_terms(tmp_path / "words.csv")
