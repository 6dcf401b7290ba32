"""An index as LangChain's retriever: `IndexRetriever(index=index, k=4).invoke("When does the loan desk open?")`."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from pydantic import Field, SkipValidation

from rag.passage import Passage
from rag.search.filters import parse_filter
from rag.search.settings import SearchSettings


class IndexRetriever(BaseRetriever):
    """Finds what `Index.search` finds, in any LangChain chain; sync and async (a search runs in a worker thread).

    `index` is an `Index` or has its `search`, `filters` are OpenAI's, as a mapping. `k` and `filters` may also be given
    to one call: `invoke(query, k=2)`.
    """

    index: SkipValidation[Any]
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
    names = ("chunk_id", "document_id", "title", "score", "rank", "source", "page")
    ours = {**{name: getattr(passage, name) for name in names}, "headings": list(passage.headings)}
    told = {name: value for name, value in ours.items() if name not in passage.metadata or value not in ("", None, [])}
    return Document(id=passage.chunk_id, page_content=passage.text, metadata={**passage.metadata, **told})
