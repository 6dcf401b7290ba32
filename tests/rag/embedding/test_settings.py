from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.embedding.settings import Prefixes, find_prefixes
from rag.errors import RagError

_SEARCH = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2@1", Prefixes()),
        ("thenlper/gte-small@1", Prefixes()),
        ("intfloat/e5-small-v2@1", Prefixes("query: ", "passage: ")),
        ("intfloat/multilingual-e5-base@1", Prefixes("query: ", "passage: ")),
        ("BAAI/bge-small-en-v1.5@1", Prefixes(_SEARCH, "")),
        ("BAAI/bge-large-zh-v1.5@1", Prefixes("为这个句子生成表示以用于检索相关文章：", "")),
        ("BAAI/bge-m3@1", Prefixes()),
        ("nomic-ai/nomic-embed-text-v1.5@1", Prefixes("search_query: ", "search_document: ")),
        ("Snowflake/snowflake-arctic-embed-m-v1.5@1", Prefixes(_SEARCH, "")),
        ("Snowflake/snowflake-arctic-embed-l-v2.0@1", Prefixes("query: ", "")),
        ("mixedbread-ai/mxbai-embed-large-v1@1", Prefixes(_SEARCH, "")),
    ],
)
def test_families_have_the_prefixes_of_their_model_cards(tmp_path: Path, name: str, expected: Prefixes) -> None:
    assert find_prefixes(tmp_path, name) == expected


def test_an_instructed_e5_wants_an_instruction_for_questions_only(tmp_path: Path) -> None:
    found = find_prefixes(tmp_path, "intfloat/multilingual-e5-large-instruct@1")

    assert found.query.startswith("Instruct: ")
    assert found.query.endswith("\nQuery: ")
    assert found.passage == ""


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"prompts": {"query": "Q: ", "document": "D: "}}, Prefixes("Q: ", "D: ")),
        ({"prompts": {"search_query": "Q: "}}, Prefixes("Q: ", "")),
        ({"prompts": {"query": "Q: ", "all": "A: "}, "default_prompt_name": "all"}, Prefixes("Q: ", "A: ")),
        ({"prompts": {"query": "", "document": ""}}, Prefixes("query: ", "passage: ")),
        ({"prompts": {}}, Prefixes("query: ", "passage: ")),
        ([], Prefixes("query: ", "passage: ")),
    ],
)
def test_the_models_own_prompts_come_before_those_of_its_family(
    tmp_path: Path, config: object, expected: Prefixes
) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))

    assert find_prefixes(tmp_path, "intfloat/e5-base@1") == expected


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text("{")

    with pytest.raises(RagError, match=r"config_sentence_transformers\.json' cannot be read"):
        find_prefixes(tmp_path, "a/b")
