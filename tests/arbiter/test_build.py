"""From config values to parts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from arbiter import build
from arbiter.build import index_home
from arbiter.config import Config
from rag.documents.document import Document
from rag.search.settings import SearchSettings


def test_options_of_a_vector_store_are_not_written_down() -> None:
    store = {"factory": "pgvector", "options": {"connection": "postgresql://u:sesame@host/db"}}
    config = Config.model_validate({"data": "x", "index": {"store": store}})

    assert "sesame" not in str(config.model_dump(mode="json"))
    assert Config.model_validate(config.model_dump()) == config


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
