from __future__ import annotations

from pathlib import Path

import pytest
from fakes.teachers import teaching, texts
from fakes.teams import write_folder

from arbiter.console import Console
from arbiter.data import load_data
from arbiter.data_stage.questions.bare import folder_of, with_questions
from storage.errors import ArbiterError
from tests.arbiter.data_stage.questions.conftest import Configs
from tests.arbiter.data_stage.questions.test_generate import said


def test_a_bare_folder_gets_its_questions_once_and_every_command_finds_them(
    documents: Path, tmp_path: Path, configs: Configs, console: Console
) -> None:
    home = tmp_path / "home"
    with teaching() as server:
        config = configs(server.url, data=documents)
        with pytest.raises(ArbiterError, match=rf"holds documents and no questions.*arbiter run {documents}"):
            with_questions(config, home=home, console=console, makes=False, command="arbiter run docs")
        assert server.bodies == []
        made = with_questions(config, home=home, console=console, makes=True, command="arbiter run docs")
        asked = len(server.bodies)
        for makes in (True, False):
            again = with_questions(config, home=home, console=console, makes=makes, command="arbiter run docs")
            assert again == made
        assert len(server.bodies) == asked
    assert made.data == folder_of(documents, home)
    assert "used though nobody has reviewed them" in said(console)
    assert "arbiter data review" in said(console)
    # The documents are the user's own: what changes there is indexed anew.
    assert (made.data / "docs").readlink() == documents
    (documents / "new.txt").write_text("The well at Thornby was dug in 1702.")
    data = load_data(made.data)
    assert {document.id for document in data.documents} == {*texts(), "new"}
    assert (len(data.questions), len(data.examples)) == (4, 4)


def test_any_other_folder_is_left_alone(tmp_path: Path, configs: Configs, console: Console) -> None:
    for name, parts in (("whole", {}), ("no-test", {"test": None, "train": None})):
        config = configs(None, data=write_folder(tmp_path / name, **parts))  # type: ignore[arg-type]
        assert with_questions(config, home=tmp_path, console=console, makes=True, command="") is config
    with pytest.raises(ArbiterError, match=rf"arbiter data generate {tmp_path}/no-test {tmp_path}/no-test"):
        load_data(tmp_path / "no-test")


def test_one_document_has_questions_alone(tmp_path: Path, configs: Configs, console: Console) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "all.txt").write_text("\n\n".join(texts().values()))
    with teaching() as server:
        config = configs(server.url, "index.chunk_tokens=30", "index.overlap_tokens=0", data=folder)
        made = with_questions(config, home=tmp_path / "home", console=console, makes=True, command="")
    assert "there is one document, so that no training examples can be made" in said(console)
    data = load_data(made.data)
    assert (len(data.questions), data.examples) == (4, ())


def test_a_set_that_was_rejected_as_a_whole_is_said_to_be(
    documents: Path, tmp_path: Path, configs: Configs, console: Console
) -> None:
    with teaching() as server:
        config = configs(server.url, data=documents)
        made = with_questions(config, home=tmp_path / "home", console=console, makes=True, command="")
    for name in ("test", "train"):
        (made.data / f"{name}.jsonl").unlink()
    with pytest.raises(ArbiterError, match=r"no question about the documents .* is accepted: arbiter data review"):
        with_questions(config, home=tmp_path / "home", console=console, makes=False, command="")
