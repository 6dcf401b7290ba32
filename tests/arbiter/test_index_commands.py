import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
from fakes.embedders import WordEmbedder

from arbiter.console import Console
from arbiter.index_commands import IndexCommands, open_index_commands
from rag.chunking.chunk import ChunkSettings
from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.home import IndexHome
from rag.search.settings import SearchSettings
from storage.errors import ArbiterError

BM25 = SearchSettings(mode="bm25")


class Counter:
    """Makes an embedder and counts how often it was asked to."""

    def __init__(self, name: str = "words@1") -> None:
        self.num_made = 0
        self._name = name

    def __call__(self) -> Embedder:
        self.num_made += 1
        return WordEmbedder(self._name)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "hours.md").write_text("# Loan desk\nThe desk opens at nine.\n")
    (folder / "fines.txt").write_text("A late book costs ten cents a day.\n")
    return folder


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def commands(tmp_path: Path, said: io.StringIO) -> IndexCommands:
    return make_shop(tmp_path, said)


def make_shop(tmp_path: Path, said: io.StringIO | None = None, name: str = "words@1", **settings: Any) -> IndexCommands:
    index_home = IndexHome(tmp_path / "home", **settings)
    return IndexCommands(index_home, Console(stderr=said or io.StringIO()), make_embedder=Counter(name))


def names(row: Any) -> list[str]:
    return [entry["id"] for entry in row["documents"]]


def test_added_documents_are_listed_and_found(commands: IndexCommands, docs: Path) -> None:
    text, _ = commands.add("faq", [docs])
    assert text == "index faq: 2 documents, 2 chunks"
    assert names(commands.show("faq")[1]) == ["fines", "hours"]
    text, found = commands.search("faq", "When does the desk open?", 1, BM25)
    assert text.splitlines()[0].endswith("Loan desk  (hours.md)")
    assert found["passages"][0]["document_id"] == "hours"  # type: ignore[index]


@pytest.mark.slow
def test_what_cannot_be_read_is_said_and_the_rest_goes_on(
    commands: IndexCommands, docs: Path, said: io.StringIO
) -> None:
    (docs / "empty.txt").write_text("")
    (docs / "torn.pdf").write_bytes(b"%PDF-1.7 torn")
    _, row = commands.add("faq", [docs.with_name("nowhere"), docs])
    assert row["documents"] == 2  # type: ignore[index]
    assert [s["path"] for s in row["paths"][0]["skipped"]] == ["empty.txt", "torn.pdf"]  # type: ignore[index]
    assert "nowhere" in row["unreadable"][0]  # type: ignore[index]
    for line in ("skipped empty.txt: ", "skipped torn.pdf: ", f"skipped {docs.with_name('nowhere')}: "):
        assert line in said.getvalue()


def test_nothing_readable_at_all_is_an_error_and_makes_no_index(commands: IndexCommands, tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match=r"nothing was indexed: .*nowhere"):
        commands.add("faq", [tmp_path / "nowhere"])
    assert not commands.index_home.states()


def test_adding_leaves_what_is_gone_and_updating_takes_it_away(
    commands: IndexCommands, docs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Study rooms are booked at the counter.")
    commands.add("faq", [docs, other])
    (docs / "fines.txt").unlink()
    (docs / "hours.md").write_text("# Loan desk\nThe desk opens at ten.\n")
    commands.add("faq", [docs])
    assert names(commands.show("faq")[1]) == ["fines", "hours", "other"]
    _, row = commands.add("faq", [docs], is_whole=True)
    report = row["paths"][0]  # type: ignore[index]
    assert (report["removed"], report["unchanged"], report["embedded_chunks"]) == (1, 1, 0)
    assert names(commands.show("faq")[1]) == ["hours", "other"]


def test_an_update_keeps_what_was_read_of_a_file_that_is_damaged_now_but_not_of_an_emptied_one(
    commands: IndexCommands, docs: Path, said: io.StringIO
) -> None:
    (docs / "plan.html").write_text("<h1>Plan</h1><p>The quay is swept on Mondays.</p>")
    (docs / "note.md").write_text("The lamp is lit at dusk.")
    commands.add("faq", [docs])
    (docs / "plan.html").write_bytes(b"\x00\x01\x02")
    (docs / "note.md").write_text("")
    _, row = commands.add("faq", [docs], is_whole=True)
    assert cast(Any, row)["paths"][0]["kept"] == ["plan.html"]
    assert "plan.html stays as it was, since plan.html cannot be read" in said.getvalue()
    assert sorted(names(commands.show("faq")[1])) == ["fines", "hours", "plan.html"]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_an_update_keeps_the_rows_of_a_file_that_is_damaged_now_but_not_those_of_another(
    commands: IndexCommands, docs: Path, said: io.StringIO, kind: str
) -> None:
    texts = {
        "csv": "id,text\n{0},The {0} is swept on Mondays.\n",
        "json": '[{{"id": "{0}", "text": "The {0} is swept on Mondays.", "metadata": {{"source": ["x.pdf"]}}}}]',
        "jsonl": '{{"id": "{0}", "text": "The {0} is swept on Mondays.", "metadata": {{"source": "x.pdf"}}}}\n',
    }
    for name in ("quay", "pier"):
        (docs / f"{name}.{kind}").write_text(texts[kind].format(name))
    commands.add("faq", [docs])
    (docs / f"quay.{kind}").write_bytes(b"\x00\x01\x02")
    (docs / f"pier.{kind}").write_text(texts[kind].format("lock"))
    _, row = commands.add("faq", [docs], is_whole=True)
    assert cast(Any, row)["paths"][0]["kept"] == ["quay"]
    assert f"quay stays as it was, since quay.{kind} cannot be read" in said.getvalue()
    assert sorted(names(commands.show("faq")[1])) == ["fines", "hours", "lock", "quay"]


def test_an_update_keeps_what_lies_in_a_folder_or_archive_that_cannot_be_read_now(
    commands: IndexCommands, docs: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "yard").mkdir()
    (docs / "yard" / "gate.txt").write_text("The gate is shut at night.")
    (docs / "yard" / "rows.jsonl").write_text('{"id": "well", "text": "The well is deep."}\n')
    with zipfile.ZipFile(docs / "pack.zip", "w") as archive:
        archive.writestr("in/rope.txt", "The rope is long.")
    commands.add("faq", [docs, docs / "yard" / "gate.txt"])
    (docs / "pack.zip").write_bytes(b"torn")
    (docs / "fines.txt").unlink()
    scandir, exists = os.scandir, Path.exists

    def refuses(folder: Any) -> Any:
        if Path(folder).name == "yard":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    def looks(file: Path) -> bool:
        if file.parent.name == "yard":
            raise PermissionError(13, "Permission denied", str(file))
        return exists(file)

    monkeypatch.setattr("os.scandir", refuses)
    monkeypatch.setattr(Path, "exists", looks)
    _, row = commands.add("faq", [docs], is_whole=True)
    assert sorted(cast(Any, row)["paths"][0]["kept"]) == ["pack.zip/in/rope", "well"]
    assert "well stays as it was, since yard cannot be read" in said.getvalue()
    assert "pack.zip/in/rope stays as it was, since pack.zip cannot be read" in said.getvalue()
    assert sorted(names(commands.show("faq")[1])) == ["hours", "pack.zip/in/rope", "well", "yard/gate"]


def test_an_update_from_a_folder_without_documents_says_which_stay(
    commands: IndexCommands, docs: Path, said: io.StringIO
) -> None:
    commands.add("faq", [docs])
    for file in docs.iterdir():
        file.unlink()
    with pytest.raises(ArbiterError, match="nothing was indexed"):
        commands.add("faq", [docs], is_whole=True)
    assert f"note: 2 documents of {docs} stay in faq; take those that are gone out with: " in said.getvalue()
    assert "arbiter index delete faq fines" in said.getvalue()
    assert names(commands.show("faq")[1]) == ["fines", "hours"]


def test_a_file_that_is_read_by_two_paths_is_one_document(
    commands: IndexCommands, docs: Path, said: io.StringIO
) -> None:
    commands.add("faq", [docs])
    (docs / "hours.md").write_text("# Loan desk\nThe desk opens at ten.\n")
    commands.add("faq", [docs / "hours.md"])
    assert names(commands.show("faq")[1]) == ["fines", "hours"]
    assert f"note: hours takes the place of that document in faq from {docs}" in said.getvalue()
    assert "at ten" in commands.search("faq", "When does the desk open?", 1, BM25)[0]
    commands.add("faq", [docs / "*.md"])
    assert names(commands.show("faq")[1]) == ["fines", "hours"]


def test_an_update_of_a_folder_takes_away_what_was_added_from_it_by_another_path(
    commands: IndexCommands, docs: Path, tmp_path: Path, said: io.StringIO
) -> None:
    other = tmp_path / "other.md"
    other.write_text("Another branch opens at noon.")
    commands.add("faq", [docs, docs / "hours.md", other])
    (docs / "hours.md").unlink()
    other.unlink()
    _, row = commands.add("faq", [docs], is_whole=True)
    assert names(commands.show("faq")[1]) == ["fines", "other"]
    assert (row["paths"][0]["removed"], row["paths"][0]["num_chunks"]) == (1, 2)
    assert "note: hours went, as the files did" in said.getvalue()


def test_an_update_of_a_name_that_is_none_makes_no_index(commands: IndexCommands, docs: Path) -> None:
    with pytest.raises(ArbiterError, match="no index 'fqa'"):
        commands.add("fqa", [docs], is_whole=True)
    assert commands.index_home.states() == {}


def test_two_additions_at_once_of_files_with_one_name_keep_both(tmp_path: Path, docs: Path, said: io.StringIO) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "hours.md").write_text("Another branch opens at noon.")
    slow = WordEmbedder()
    slow.gate.clear()
    first = IndexCommands(IndexHome(tmp_path / "home"), Console(stderr=said), make_embedder=lambda: slow)
    adding = threading.Thread(target=first.add, args=("faq", [docs]))
    adding.start()
    assert slow.started.wait(timeout=30)
    second = make_shop(tmp_path)
    second.add("faq", [other])
    slow.gate.set()
    adding.join(timeout=30)
    found = names(second.show("faq")[1])
    assert len(found) == 3
    assert {"fines", "hours"} < set(found)
    assert f"note: document 'hours' came in from {other} meanwhile; looking again" in said.getvalue()


@pytest.mark.slow
def test_files_of_two_folders_with_one_name_are_both_kept_however_often_they_are_added(
    commands: IndexCommands, docs: Path, tmp_path: Path, said: io.StringIO
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "hours.md").write_text("Another branch opens at noon.")
    commands.add("faq", [docs, other])
    first = names(commands.show("faq")[1])
    assert len(first) == 3
    assert {"fines", "hours"} < set(first)
    _, row = commands.add("faq", [other, docs])
    assert [(path["added"], path["updated"], path["unchanged"]) for path in row["paths"]] == [(0, 0, 1), (0, 0, 2)]
    assert names(commands.show("faq")[1]) == first
    # The name is free now, and the other folder's file keeps the id that it got.
    (docs / "hours.md").unlink()
    commands.add("faq", [docs], is_whole=True)
    commands.add("faq", [other], is_whole=True)
    assert names(commands.show("faq")[1]) == [name for name in first if name != "hours"]
    assert "replaces" not in said.getvalue()


def test_a_row_that_brings_the_id_of_another_paths_row_is_said_to_replace_it(
    commands: IndexCommands, tmp_path: Path, said: io.StringIO
) -> None:
    for name, text in (("old.jsonl", "The desk opens at nine."), ("new.jsonl", "The desk opens at ten.")):
        (tmp_path / name).write_text(json.dumps({"id": "desk", "text": text}))
        commands.add("faq", [tmp_path / name])
    assert f"note: desk takes the place of that document in faq from {tmp_path / 'old.jsonl'}" in said.getvalue()
    assert names(commands.show("faq")[1]) == ["desk"]


def test_a_new_index_is_cut_as_asked_and_keeps_its_chunks(tmp_path: Path, docs: Path) -> None:
    commands = make_shop(tmp_path, chunking=ChunkSettings(50, 10))
    commands.add("faq", [docs], {"chunk_tokens": 4, "overlap_tokens": 0})
    assert commands.index_home.states()["faq"].settings == ChunkSettings(4, 0)
    commands.add("faq", [docs])
    commands.add("faq", [docs], {"chunk_tokens": 4})
    assert commands.index_home.states()["faq"].settings == ChunkSettings(4, 0)
    with pytest.raises(ArbiterError, match="cut into structure, 4 tokens, 0 overlap; leave the chunk options out"):
        commands.add("faq", [docs], {"chunk_tokens": 5})
    with pytest.raises(RagError):
        commands.add("new", [docs], {"chunk_tokens": 4, "overlap_tokens": 4})


def test_another_embedder_may_rebuild_an_index_by_an_update_but_not_add_to_it(tmp_path: Path, docs: Path) -> None:
    make_shop(tmp_path).add("faq", [docs])
    other = make_shop(tmp_path, name="words@2")
    with pytest.raises(RagError, match="built with embedder 'words@1', not 'words@2'"):
        other.add("faq", [docs])
    with pytest.raises(RagError, match="built with embedder 'words@1'"):
        other.search("faq", "desk", 1)
    other.add("faq", [docs], is_whole=True)
    assert other.index_home.states()["faq"].embedder == "words@2"


def test_listing_deleting_exporting_and_verifying_ask_for_no_embedder(tmp_path: Path, docs: Path) -> None:
    make_shop(tmp_path).add("faq", [docs])
    count = Counter("another@1")
    commands = IndexCommands(IndexHome(tmp_path / "home"), Console(stderr=io.StringIO()), make_embedder=count)
    assert commands.show(None)[1]["indexes"][0]["documents"] == 2  # type: ignore[index]
    commands.show("faq")
    commands.delete("faq", ["fines"])
    assert commands.verify("faq")[2]
    commands.export("faq", tmp_path / "faq.jsonl")
    commands.drop("faq")
    assert count.num_made == 0
    assert not commands.index_home.states()


def test_deleting_names_what_is_not_there(commands: IndexCommands, docs: Path, said: io.StringIO) -> None:
    commands.add("faq", [docs])
    text, row = commands.delete("faq", ["fines", "nope"])
    assert text == "index faq: 1 deleted, 1 documents left"
    assert row["unknown"] == ["nope"]  # type: ignore[index]
    assert "skipped nope: not in index faq" in said.getvalue()
    assert commands.search("faq", "late book", 3, BM25)[0] == "nothing found"
    with pytest.raises(ArbiterError, match="no such document"):
        commands.delete("faq", ["nope"])


def test_an_unknown_index_is_named_with_those_there_are(commands: IndexCommands, docs: Path) -> None:
    with pytest.raises(ArbiterError, match=r"no index 'faq' \(there is none yet\); create it with: arbiter index add"):
        commands.search("faq", "desk", 1)
    commands.add("lake", [docs])
    for ask in (lambda: commands.show("faq"), lambda: commands.drop("faq"), lambda: commands.verify("faq")):
        with pytest.raises(ArbiterError, match=r"no index 'faq' \(there is lake\)"):
            ask()


def test_a_filter_in_openais_form_narrows_a_search(commands: IndexCommands, docs: Path) -> None:
    commands.add("faq", [docs])
    only = {"type": "eq", "key": "source", "value": "fines.txt"}
    _, row = commands.search("faq", "the desk opens", 5, SearchSettings(mode="dense"), only)
    assert {p["document_id"] for p in row["passages"]} == {"fines"}  # type: ignore[index]
    with pytest.raises(RagError, match="filter"):
        commands.search("faq", "desk", 5, BM25, {"type": "like"})


@pytest.mark.parametrize("k", [0, 1_000_000])
def test_a_number_of_passages_out_of_range_is_refused(commands: IndexCommands, docs: Path, k: int) -> None:
    commands.add("faq", [docs])
    with pytest.raises(RagError, match=f"not {k}"):
        commands.search("faq", "desk", k)


def test_an_export_can_be_added_again(commands: IndexCommands, docs: Path, tmp_path: Path) -> None:
    commands.add("faq", [docs])
    shown = commands.export("faq", tmp_path / "faq.jsonl")
    assert shown is not None
    assert shown[0] == f"2 documents: {tmp_path / 'faq.jsonl'}"
    commands.add("copy", [tmp_path / "faq.jsonl"])
    out = io.StringIO()
    assert commands.export("copy", None, out) is None
    assert [json.loads(line)["text"] for line in out.getvalue().splitlines()] == [
        json.loads(line)["text"] for line in (tmp_path / "faq.jsonl").read_text().splitlines()
    ]


def test_an_export_is_json_in_whatever_signs_standard_output_has(commands: IndexCommands, docs: Path) -> None:
    (docs / "hours.md").write_text("Das Büro öffnet um neun.")
    commands.add("faq", [docs / "hours.md"])
    out = io.TextIOWrapper(written := io.BytesIO(), encoding="latin-1", errors="backslashreplace")
    commands.export("faq", None, out)
    assert json.loads(written.getvalue().decode("ascii"))["text"] == "Das Büro öffnet um neun."


def test_a_failed_export_leaves_the_old_file_and_no_draft(commands: IndexCommands, docs: Path, tmp_path: Path) -> None:
    commands.add("faq", [docs])
    with pytest.raises(ArbiterError, match=r"cannot write .*no/such/folder"):
        commands.export("faq", tmp_path / "no/such/folder/faq.jsonl")
    target = tmp_path / "exports" / "faq.jsonl"
    target.mkdir(parents=True)  # a folder where the file should go
    with pytest.raises(ArbiterError, match="cannot write"):
        commands.export("faq", target)
    assert list(target.parent.iterdir()) == [target]


def test_a_damaged_index_is_not_sound_until_it_is_repaired(commands: IndexCommands, docs: Path, tmp_path: Path) -> None:
    commands.add("faq", [docs])
    commands.search("faq", "desk", 1, SearchSettings(mode="dense"))
    (view,) = (tmp_path / "home" / "indexes" / "faq").glob("*.faiss")
    view.write_bytes(view.read_bytes()[:-1] + b"?")
    text, _, is_sound = commands.verify(None)
    assert not is_sound
    assert "faq: NOT sound" in text
    assert "--repair" in text
    assert commands.verify("faq", is_repaired=True)[2]
    assert commands.verify(None)[2]


@pytest.mark.slow
def test_all_ids_of_a_large_index_are_listed(commands: IndexCommands, tmp_path: Path) -> None:
    rows = [{"id": f"d{i:04}", "text": f"Text {i}."} for i in range(1005)]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    commands.add("many", [tmp_path / "many.jsonl"])
    assert len(names(commands.show("many")[1])) == 1005


def test_a_config_says_how_indexes_are_made_and_searched(tmp_path: Path) -> None:
    config = tmp_path / "x.yaml"
    config.write_text("data: data\nindex: {chunk_tokens: 40, retrieval: {mode: bm25}}\n")
    assert open_index_commands(config, home=tmp_path, console=Console()).index_home.retrieval.mode == "bm25"
    assert open_index_commands(None, home=tmp_path, console=Console()).index_home.retrieval == SearchSettings()
