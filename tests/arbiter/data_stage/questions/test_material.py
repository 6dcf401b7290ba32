from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.teachers import texts
from fakes.teams import DOCUMENTS, TEST

from arbiter.build import build_embedder, index_home, resolve_embedder
from arbiter.console import Console
from arbiter.data_stage.questions.material import is_bare, read_documents, read_index
from rag.documents.load import load_documents
from rag.errors import RagError
from storage.errors import ArbiterError
from tests.arbiter.data_stage.questions.conftest import Configs


def test_a_folder_gives_its_passages_and_the_files_of_a_data_folder(
    documents: Path, tmp_path: Path, configs: Configs, console: Console
) -> None:
    (documents / ".hidden").write_text("x")
    found = read_documents(documents, configs(None), home=tmp_path, console=console)
    assert found.num_documents == len(texts())
    assert {chunk.document_id: chunk.text for chunk in found.chunks} == texts()
    assert found.copies == {f"docs/{name}.txt": documents / f"{name}.txt" for name in texts()}


@pytest.mark.parametrize("name", ["docs.jsonl", "other.jsonl", "one.txt", "all.zip"])
def test_copied_files_keep_the_ids_of_their_documents(
    name: str, tmp_path: Path, configs: Configs, console: Console
) -> None:
    source = tmp_path / "given" / name
    source.parent.mkdir()
    if name.endswith(".zip"):
        with zipfile.ZipFile(source, "w") as packed:
            packed.writestr("deep/one.txt", "The desk opens at nine.")
    else:
        source.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS) if "json" in name else "One desk.")
    found = read_documents(source, configs(None), home=tmp_path, console=console)
    folder = tmp_path / "made"
    for place, path in found.copies.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(path.read_bytes())
    (there,) = folder.iterdir()
    ids = {document.id for document in load_documents(there).documents}
    assert ids == {document.id for document in load_documents(source).documents}


def test_a_data_folder_gives_its_documents_unless_it_has_questions(
    tmp_path: Path, configs: Configs, console: Console
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
    assert read_documents(folder, configs(None), home=tmp_path, console=console).where == folder / "docs.jsonl"
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEST))
    with pytest.raises(ArbiterError, match=r"has questions in test\.jsonl already"):
        read_documents(folder, configs(None), home=tmp_path, console=console)
    (folder / "to_review.jsonl").write_text("")
    read_documents(folder, configs(None), home=tmp_path, console=console)
    with pytest.raises(RagError, match="no"):
        read_documents(tmp_path / "nowhere.txt", configs(None), home=tmp_path, console=console)


def test_an_index_gives_the_passages_that_it_is_cut_into(
    documents: Path, tmp_path: Path, configs: Configs, console: Console
) -> None:
    config = configs(None)
    embedder = build_embedder(resolve_embedder(config, tmp_path, console.say), config.embedding)
    with pytest.raises(RagError, match="buildings"):
        read_index("buildings", config, home=tmp_path, console=console)
    index = index_home(config, tmp_path).create("buildings", embedder)
    index.sync(load_documents(documents).documents)
    found = read_index("buildings", config, home=tmp_path, console=console)
    assert {chunk.document_id: chunk.text for chunk in found.chunks} == texts()
    rows = [json.loads(line) for line in found.texts["docs.jsonl"].splitlines()]
    assert {row["id"]: row["text"].strip() for row in rows} == texts()
    assert (found.copies, found.where) == ({}, None)


def _nothing(folder: Path) -> None:
    """As it is."""


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        (_nothing, True),
        (lambda folder: (folder / "deep").mkdir(), True),
        (lambda folder: (folder / ".git").mkdir(), True),
        (lambda folder: (folder / "test.jsonl").write_text("{}\n"), False),
        (lambda folder: (folder / "faq_train.csv").write_text("a,b\n"), False),
        (lambda folder: (folder / "tset.jsonl").write_text("{}\n"), False),  # it may be meant as questions
        (lambda folder: (folder / "demo.yaml").write_text("data: x\n"), False),
        (lambda folder: (folder / "docs.jsonl").write_text("{}\n"), False),
        (lambda folder: (folder / "docs").mkdir(), False),
        (lambda folder: (folder / "to_review.jsonl").write_text(""), False),
    ],
)
def test_a_folder_is_bare_where_it_holds_documents_and_nothing_else(
    change: Callable[[Path], object], is_one: bool, documents: Path
) -> None:
    change(documents)
    assert is_bare(documents) is is_one


def test_what_holds_no_document_is_not_bare(tmp_path: Path) -> None:
    assert not is_bare(tmp_path)
    assert not is_bare(tmp_path / "nowhere")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "picture.png").write_bytes(b"x")
    assert not is_bare(tmp_path)
    (tmp_path / "deep" / "guide.md").write_text("# Guide")
    assert is_bare(tmp_path)
    (tmp_path / "deep" / "train.jsonl").write_text("{}\n")  # a data folder in it
    assert not is_bare(tmp_path)
