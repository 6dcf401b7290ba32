"""An index as LangChain's retriever: `IndexRetriever(index=index, k=4).invoke("When does the loan desk open?")`."""

from __future__ import annotations

from typing import Any, Protocol

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from pydantic import Field, SkipValidation

from rag.passage import Passage
from rag.search.filters import Filter, parse_filter
from rag.search.settings import SearchSettings


class Searchable(Protocol):
    """What the retriever needs from an index."""

    def search(
        self, query: str, k: int, *, settings: SearchSettings | None = None, filters: Filter | None = None
    ) -> tuple[Passage, ...]:
        """Up to k passages, best first."""
        ...


class IndexRetriever(BaseRetriever):
    """Finds what `Index.search` finds, in any LangChain chain; sync and async (a search runs in a worker thread).

    `filters` are OpenAI's, as a mapping. `k` and `filters` may also be given to one call: `invoke(query, k=2)`.
    """

    index: SkipValidation[Searchable]
    k: int = Field(default=4, ge=1)
    settings: SearchSettings | None = None
    filters: dict[str, Any] | None = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  the name is LangChain's
        k: int | None = None,
        filters: dict[str, Any] | None = None,
    ) -> list[Document]:
        chosen = self.filters if filters is None else filters
        passages = self.index.search(
            query,
            self.k if k is None else k,
            settings=self.settings,
            filters=None if chosen is None else parse_filter(chosen),
        )
        return [as_document(passage) for passage in passages]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **rest: Any
    ) -> list[Document]:
        # LangChain's own would refuse a call's `k` and `filters`.
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **rest
        )


def as_document(passage: Passage) -> Document:
    """A passage as LangChain's document. What we know of it goes over metadata of the same name that its source had."""
    ours = {
        "chunk_id": passage.chunk_id,
        "document_id": passage.document_id,
        "title": passage.title,
        "score": passage.score,
        "rank": passage.rank,
        "source": passage.source,
        "page": passage.page,
        "headings": list(passage.headings),
    }
    unknown: dict[str, object] = {"title": "", "source": "", "page": None, "headings": []}
    told = {key: value for key, value in ours.items() if key not in passage.metadata or value != unknown.get(key, ...)}
    return Document(id=passage.chunk_id, page_content=passage.text, metadata={**passage.metadata, **told})
