"""From config values to parts."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import ADAPTER
from fakes.embedders import WordEmbedder
from fakes.engines import FixedRetriever, ScriptedEngine, passage

from arbiter import build
from arbiter.build import check_rows, index_home, training_rows
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import Data
from rag.chunking.chunk import Chunk, ChunkSettings
from rag.documents.document import Document
from rag.home import IndexHome
from rag.passage import Passage
from rag.search.settings import SearchSettings
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.prompts import ANSWER
from tuning.base import ResolvedModel
from tuning.data.examples import Question


def test_options_of_a_vector_store_are_not_written_down() -> None:
    store = {"factory": "pgvector", "options": {"connection": "postgresql://u:sesame@host/db"}}
    config = Config.model_validate({"data": "x", "index": {"store": store}})

    assert "sesame" not in str(config.model_dump(mode="json"))
    assert Config.model_validate(config.model_dump()) == config


def test_rows_that_were_too_long_to_train_on_are_told(tmp_path: Path) -> None:
    config = Config.model_validate({"data": tmp_path})
    adapter = replace(ADAPTER, num_rows=8, num_dropped=2)
    (line,) = build.training_notes(config, {"raft": adapter, "closed_book": replace(adapter, num_dropped=0)})
    assert line.startswith("2 of 10 rows were left out of the training of raft: they are longer than adapters.raft.max")


def test_langchain_embeddings_and_another_vector_store_stand_in_by_config_values(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "data": tmp_path,
            "embedding": {"langchain": {"factory": "fakes.stores:LetterEmbeddings", "options": {"base": 0.1}}},
            "index": {"store": {"factory": "qdrant", "options": {"path": str(tmp_path / "qdrant")}}},
        }
    )
    model = build.resolve_embedder(config, tmp_path, lambda _: None)
    embedder = build.build_embedder(model, config.embedding)
    assert embedder.name.startswith("fakes.stores:LetterEmbeddings@")
    with contextlib.closing(index_home(config, tmp_path / "home").create("letters", embedder)) as index:
        index.sync([Document("a", "", "a a a b"), Document("b", "", "b b b a"), Document("c", "", "c c a")])
        found = index.search("bbb", 2, settings=SearchSettings(mode="dense"))
        assert [passage.document_id for passage in found] == ["b", "a"]
    assert any((tmp_path / "qdrant").iterdir())
    shown = config.model_dump(mode="json")
    assert shown["embedding"]["langchain"]["options"] == {"base": "**********"}
    assert shown["index"]["store"]["options"] == {"path": "**********"}


def test_other_options_make_another_embedder(tmp_path: Path) -> None:
    def name(scale: int) -> str:
        langchain = {"factory": "fakes.stores:LetterEmbeddings", "options": {"scale": scale, "api_key": f"{scale}"}}
        config = Config.model_validate({"data": tmp_path, "embedding": {"langchain": langchain}})
        return build.resolve_embedder(config, tmp_path, lambda _: None).revision

    assert name(1) == name(1) != name(2)


def test_an_arm_has_room_where_its_config_says_none() -> None:
    rag, base = {"sampling": {"max_tokens": 8}}, {"sampling": {"temperature": 0.5}}
    others = dict.fromkeys(("tuned", "tuned_rag", "hybrid"))
    config = Config.model_validate({"data": "d", "arms": {"rag": rag, "base": base, **others}})
    arms = build.build_arms(config, Data(Path("d"), (), (), (), ()), {}, max_tokens=40)
    assert {arm.name: arm.sampling.max_tokens for arm in arms} == {"base": 40, "fewshot": 40, "rag": 8}


class Searches:
    """An index that remembers how it was searched."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, SearchSettings | None]] = []

    def search(self, query: str, k: int, *, settings: SearchSettings | None = None) -> tuple[Passage, ...]:
        self.asked.append((query, k, settings))
        return (Passage("d#0", "d", "", "It opens at nine.", 1.0, 1),)

    def chunks_of(self, document_id: str) -> tuple[Chunk, ...]:
        return ()


@pytest.mark.parametrize(
    ("arms", "mode", "neighbours"),
    [
        ({}, "bm25", 0),
        ({"hybrid": {"retrieval": {"mode": "dense", "neighbours": 2}}}, "dense", 2),
        ({"rag": {"retrieval": {"mode": "dense"}}}, "bm25", 0),
    ],
)
def test_an_adapter_is_trained_on_what_its_arm_retrieves(arms: dict[str, Any], mode: Any, neighbours: int) -> None:
    config = Config.model_validate({"data": "x", "index": {"retrieval": {"mode": "bm25"}}, "arms": arms})
    index: Any = Searches()
    examples = [Question("1", "When does it open?", ("nine",), ("d",))]

    rows = training_rows(config, "raft", examples, index)

    assert len(rows) == 1
    assert [settings for _, _, settings in index.asked] == [SearchSettings(mode=mode, neighbours=neighbours)]


def test_a_closed_book_adapter_sees_the_question_in_its_arms_prompt() -> None:
    prompts = {"curt": {"system": "One word."}}
    config = Config.model_validate({"data": "x", "prompts": prompts, "arms": {"tuned": {"prompt": "curt"}}})
    config = config.model_copy(update={"arms": {"tuned": replace(config.arms["tuned"], adapter="curt")}})
    config = config.model_copy(update={"adapters": {"curt": config.adapters["closed_book"]}})
    (row,) = training_rows(config, "curt", [Question("1", "When?", ("nine",))], None)
    assert [message["content"] for message in row.prompt] == ["One word.", "When?"]


HISTORY = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "When does the desk open?"},
    {"role": "assistant", "content": "At nine."},
)


@pytest.mark.parametrize("condense", ["recent", "last"])
@pytest.mark.parametrize("history", [HISTORY, HISTORY[1:]])
async def test_a_conversation_is_trained_on_in_the_words_that_its_arms_are_served_with(
    history: tuple[dict[str, str], ...], condense: str
) -> None:
    arms = {"tuned": {}, "hybrid": {"condense": condense}}
    adapters = {"raft": {"passages": 2, "golden_fraction": 1.0}}
    config = Config.model_validate({"data": "x", "arms": arms, "adapters": adapters})
    index: Any = FixedRetriever(passage("At ten.", document="desk"))
    example = Question("1", "And on Sundays?", ("ten",), ("desk",), history=history)
    engine = ScriptedEngine(lambda _: "ten")
    answerer = Answerer(engine, {"x": index}, "base")

    # What a client sends over HTTP.
    sent = [*history, {"role": "user", "content": "And on Sundays?"}]
    for adapter, arm in (("closed_book", "tuned"), ("raft", "hybrid")):
        (row,) = training_rows(config, adapter, [example], index)
        settings = config.arms[arm]
        served = Arm(arm, adapter=adapter, index="x" if settings.index else None, top_k=2, condense=settings.condense)
        prepared = await answerer.prepare(served, sent)
        assert row.prompt == prepared.request.messages
        assert row.completion == "ten"
        assert check_rows(config, adapter, [example], index) == [row]
    assert len({query for query, _ in index.queries}) == 1


FIRST = "# Rooms\n\nThe library has rooms that can be had by everybody who asks for them at the counter.\n\n"
SECOND = "## Opening\n\nOn Sundays the doors are unlocked at seventeen hundred, for members alone. Bring a card."
BOOK = Document("book", "Handbook", FIRST + SECOND, {"year": 1990}, "handbook.md", pages=(0, len(FIRST)))
NOISE = [Document(f"n{i}", "Curfew", f"Curfew question {i}: when may we come late?") for i in range(12)]


@pytest.mark.parametrize("neighbours", [0, 1])
@pytest.mark.parametrize("strategy", ["tokens", "structure", "parent_child"])
def test_a_golden_passage_that_retrieval_missed_is_trained_as_it_is_served(
    tmp_path: Path, strategy: Any, neighbours: int
) -> None:
    config = Config.model_validate(
        {
            "data": "x",
            "index": {"retrieval": {"mode": "dense", "neighbours": neighbours}},
            "adapters": {"raft": {"passages": 1, "golden_fraction": 1.0}},
        }
    )
    chunking = ChunkSettings(10, 0, strategy, 20)
    with contextlib.closing(IndexHome(tmp_path).create("faq", WordEmbedder(), chunking)) as index:
        index.sync([BOOK, *NOISE])
        settings = config.index.retrieval
        example = Question("1", "When may we come late, curfew question?", ("seventeen",), ("book",))
        assert all(passage.document_id != "book" for passage in index.search(example.text, 5, settings=settings))
        served = index.search("Sundays the doors are unlocked at seventeen hundred", 1, settings=settings)
        assert all((served[0].headings, served[0].page, served[0].source, served[0].title))

        (row,) = training_rows(config, "raft", [example], index)

        assert row.prompt == ANSWER.ask(example.text, served)
        for chunk in index.chunks_of("book"):
            trained = index.passage_of(chunk, settings=settings)
            # A passage that lies within a better one is left out of a search.
            found = {passage.chunk_id: passage for passage in index.search(chunk.text, 40, settings=settings)}
            assert replace(found.get(chunk.id, trained), score=0.0, rank=1) == trained


@pytest.mark.parametrize(
    ("arms", "form"), [({"mine": {"adapter": "whole"}}, "merged"), ({"mine": {"adapter": "closed_book"}}, "lora")]
)
def test_an_engine_is_told_which_forms_of_adapters_may_come(
    arms: dict[str, Any], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[str, Any] = {}
    monkeypatch.setattr(build.engines, "open_engine", lambda *_, **given: opened.update(given))
    config = Config.model_validate({"data": "demo", "adapters": {"whole": {"method": "half"}}, "arms": arms})
    build.open_engine(config, ResolvedModel("base", "r1", ""), {}, home=tmp_path, console=Console())
    assert form in opened["forms"]
    assert ("merged" in opened["forms"]) == (form == "merged")


def test_an_engine_takes_the_ranks_of_the_adapters_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many rows a training has a higher rank than its config says."""
    started: list[int | None] = []
    monkeypatch.setattr(build.engines, "open_engine", lambda settings, *_, **__: started.append(settings.max_lora_rank))
    base, wide = ResolvedModel("base", "r1", ""), {ADAPTER.name: replace(ADAPTER, rank=64)}
    for engine in ({}, {"max_lora_rank": 128}):
        config = Config.model_validate({"data": tmp_path, "engine": engine})
        for adapters in ({}, wide):
            build.open_engine(config, base, adapters, home=tmp_path, console=Console())
    assert started == [16, 64, 128, 128]
