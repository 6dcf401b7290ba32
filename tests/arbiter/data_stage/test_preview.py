from __future__ import annotations

from pathlib import Path

import pytest
from fakes.teams import pipeline_of, write_folder

from arbiter.data_stage.preview import preview_rows
from arbiter.pipeline import Pipeline
from storage.errors import ArbiterError

# A tokenizer of transformers', and an index.
pytestmark = pytest.mark.slow

TRAIN = [
    {"id": "sea", "question": "what colour is sea", "answers": ["blue"]},
    {"id": "two", "question": "what is two", "answers": ["three one"]},
]
WORDS = "embedding.langchain.factory=fakes.teams:WordEmbeddings"


def opened(tmp_path: Path, base: Path, *overrides: str) -> Pipeline:
    folder = write_folder(tmp_path / "rows", train=TRAIN)
    return pipeline_of(folder, tmp_path / "home", WORDS, f"model={base}", *overrides)[0]


def test_the_trained_tokens_of_rows_are_marked(tmp_path: Path, tiny_base: Path) -> None:
    (text, value), refused = preview_rows(opened(tmp_path, tiny_base), is_coloured=False)
    assert refused == []
    assert (value["adapter"], [row["line"] for row in value["rows"]]) == ("closed_book", [1, 2])
    first, second = value["rows"]
    assert [token["text"] for token in first["tokens"] if token["is_trained"]] == ["blue", "[end]"]
    assert first["text"].endswith("[assistant][[blue [end]]]")
    assert (second["num_trained"], second["is_too_long"]) == (3, False)
    assert text.startswith(f"line 1, sea: 2 of {first['num_tokens']} tokens are trained\n[system]")


def test_one_row_is_shown_in_colour(tmp_path: Path, tiny_base: Path) -> None:
    (text, value), _ = preview_rows(opened(tmp_path, tiny_base), lines=[2], is_coloured=True)
    assert [row["id"] for row in value["rows"]] == ["two"]
    assert "\033[32mthree one [end]\033[0m" in text


def test_a_row_that_is_too_long_is_said_to_be_left_out(tmp_path: Path, tiny_base: Path) -> None:
    pipeline = opened(tmp_path, tiny_base, "adapters.closed_book.max_length=8")
    (text, value), _ = preview_rows(pipeline, lines=[1], is_coloured=False)
    assert value["rows"][0]["is_too_long"]
    assert "more than max_length (8): it is left out of the training" in text


def test_an_adapter_that_sees_passages_is_shown_with_them(tmp_path: Path, tiny_base: Path) -> None:
    shown, _ = preview_rows(opened(tmp_path, tiny_base), lines=[1], adapter="raft", is_coloured=False)
    alone, _ = preview_rows(opened(tmp_path, tiny_base), lines=[1], is_coloured=False)
    assert shown[1]["rows"][0]["num_tokens"] > alone[1]["rows"][0]["num_tokens"]
    assert shown[1]["rows"][0]["num_trained"] == 2


def test_rows_that_do_not_end_are_refused_by_their_line(tmp_path: Path, tiny_base: Path) -> None:
    import shutil

    base = tmp_path / "endless"
    shutil.copytree(tiny_base, base)
    (base / "chat_template.jinja").write_text("{% for m in messages %}[user] {{ m['content'] }} {% endfor %}")
    (_, value), refused = preview_rows(opened(tmp_path, base), is_coloured=False)
    assert value["rows"] == []
    assert [line.partition(": the base")[0] for line in refused] == ["line 1", "line 2"]
    assert "ends an answer without '[end]'" in refused[0]


@pytest.mark.parametrize(
    ("lines", "adapter", "message"),
    [
        ((7, 9), None, r"train\.jsonl has no row on 7, 9; rows are on 1 to 2"),
        ((), "none", "no arm answers with an adapter 'none'; there is closed_book, raft"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, tiny_base: Path, lines: tuple[int, ...], adapter: str | None, message: str
) -> None:
    with pytest.raises(ArbiterError, match=message):
        preview_rows(opened(tmp_path, tiny_base), lines=lines, adapter=adapter, is_coloured=False)
