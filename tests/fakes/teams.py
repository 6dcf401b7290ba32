"""What a whole `arbiter run` takes without a model: a data folder, an engine at a URL, LangChain embeddings.

with answering() as url:
    arbiter run FOLDER *remote(url)
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.embedders import WordEmbedder
from fakes.engines import completion
from fakes.json_server import serving_json
from langchain_core.embeddings import Embeddings

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.pipeline import Pipeline

HOURS = ("one", "two", "three", "four", "five", "six")
DOCUMENTS = [
    {"id": f"d{i}", "title": f"Desk {i}", "text": f"Desk {i} opens at {hour}."} for i, hour in enumerate(HOURS)
]
TRAIN = [{"question": f"Who sits at place {hour}?", "answers": ["Ada"]} for hour in HOURS]
TEST = [{"question": f"When opens desk {i}?", "answers": [hour], "doc_ids": [f"d{i}"]} for i, hour in enumerate(HOURS)]


class WordEmbeddings(Embeddings):
    """Bags of words in LangChain's form."""

    def __init__(self) -> None:
        self._words = WordEmbedder()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(value) for value in self._words.embed_query(text)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def write_folder(folder: Path, **parts: list[dict[str, Any]] | None) -> Path:
    """A data folder of these parts, by default all three; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {"docs": DOCUMENTS, "train": TRAIN, "test": TEST, **parts}.items():
        if rows is not None:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pipeline_of(folder: Path, home: Path, *overrides: str) -> tuple[Pipeline, io.StringIO]:
    """The pipeline of a folder, as it is made from Python, and what it says."""
    err = io.StringIO()
    console = Console(stderr=err, stdout=io.StringIO())
    return Pipeline(load_config(folder, overrides, {}), home=home, console=console), err


def remote(url: str) -> list[str]:
    """Overrides for the engine at a URL, with nothing that needs a model."""
    return [
        f"engine.url={url}",
        "embedding.langchain.factory=fakes.teams:WordEmbeddings",
        "eval.first_token_probes=0",
        *(f"arms.{name}=null" for name in ("tuned", "tuned_rag", "hybrid")),
    ]


@contextmanager
def answering(reply: Callable[[Mapping[str, Any]], str] | None = None) -> Iterator[str]:
    """The URL of an OpenAI-compatible engine; by default it says what the last hour in its prompt is."""

    def answer(_path: str, asked: Mapping[str, Any] | None) -> tuple[int, object]:
        if asked is None:
            return 200, {"data": [{"id": "org/base"}]}
        return 200, completion((reply or _last_hour)(asked)).model_dump(mode="json")

    with serving_json(answer) as url:
        yield url


def _last_hour(body: Mapping[str, Any]) -> str:
    words = str(body["messages"][-1]["content"]).replace(".", " ").split()
    return next((word for word in reversed(words) if word in HOURS), "nobody knows")
