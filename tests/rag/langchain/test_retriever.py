from collections.abc import Sequence

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import create_retriever_tool

from rag.errors import RagError
from rag.index import Index
from rag.langchain.retriever import IndexRetriever, as_document
from rag.passage import Passage
from rag.search.settings import SearchSettings


def test_it_is_a_retriever_that_finds_what_the_index_finds(index: Index) -> None:
    retriever = IndexRetriever(index=index, k=2)
    assert isinstance(retriever, BaseRetriever)
    found, passages = retriever.invoke("When does the desk open?"), index.search("When does the desk open?", 2)
    assert [document.page_content for document in found] == [passage.text for passage in passages]
    assert found[0].metadata["document_id"] == "hours"
    assert found[0].metadata["score"] == passages[0].score
    assert found[0].id == found[0].metadata["chunk_id"] == passages[0].chunk_id


async def test_it_answers_asynchronously_and_in_batches(index: Index) -> None:
    retriever = IndexRetriever(index=index, k=1)
    (found,) = await retriever.ainvoke("late book")
    both = await retriever.abatch(["late book", "study rooms"])
    assert found.metadata["document_id"] == "fines"
    assert [documents[0].metadata["document_id"] for documents in both] == ["fines", "rooms"]


async def test_k_and_filters_may_be_the_calls(index: Index) -> None:
    retriever = IndexRetriever(index=index, k=3, filters={"type": "eq", "key": "page", "value": 1})
    assert [document.metadata["document_id"] for document in retriever.invoke("rooms")] == ["hours"]
    others = {"type": "ne", "key": "page", "value": 1}
    assert {document.metadata["document_id"] for document in retriever.invoke("rooms", filters=others)} == {
        "fines",
        "rooms",
    }
    assert len(retriever.invoke("rooms", filters=others, k=1)) == 1
    (found,) = await retriever.ainvoke("late book", filters=others, k=1)
    assert found.metadata["document_id"] == "fines"


def test_settings_are_the_searchs(index: Index) -> None:
    retriever = IndexRetriever(index=index, k=3, settings=SearchSettings(mode="bm25"))
    assert [document.metadata["document_id"] for document in retriever.invoke("counter")] == ["rooms"]


def test_a_wrong_filter_is_our_error(index: Index) -> None:
    with pytest.raises(RagError):
        IndexRetriever(index=index, filters={"type": "like", "key": "page", "value": 1}).invoke("rooms")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        IndexRetriever(index=index, k=0)


async def test_it_works_in_langchains_chains(index: Index) -> None:
    retriever = IndexRetriever(index=index, k=1)
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    model = FakeListChatModel(responses=["ten cents"])
    join = retriever | (lambda documents: "\n".join(document.page_content for document in documents))
    asked: list[str] = []

    def keep(value: object) -> object:
        asked.append(str(value))
        return value

    chain = {"context": join, "question": RunnablePassthrough()} | prompt | keep | model | StrOutputParser()
    assert chain.invoke("What does a late book cost?") == "ten cents"
    assert "A late book costs ten cents a day." in asked[0]
    assert "".join([part async for part in chain.astream("What does a late book cost?")]) == "ten cents"


class Heard(BaseCallbackHandler):
    def __init__(self) -> None:
        self.events: list[object] = []

    def on_retriever_start(self, serialized: object, query: str, **rest: object) -> None:
        self.events.append(query)

    def on_retriever_end(self, documents: Sequence[Document], **rest: object) -> None:
        self.events.append([document.metadata["document_id"] for document in documents])

    def on_retriever_error(self, error: BaseException, **rest: object) -> None:
        self.events.append(type(error))


async def test_callbacks_hear_of_a_search_and_of_its_failure(index: Index) -> None:
    heard = Heard()
    retriever = IndexRetriever(index=index, k=1, filters={"type": "ne", "key": "page", "value": 1})
    await retriever.ainvoke("late book", config={"callbacks": [heard]})
    retriever.invoke("study rooms", config={"callbacks": [heard]})
    with pytest.raises(RagError):
        await retriever.ainvoke("late book", config={"callbacks": [heard]}, k=0)
    assert heard.events == ["late book", ["fines"], "study rooms", ["rooms"], "late book", RagError]


def test_it_is_a_tool_for_agents(index: Index) -> None:
    tool = create_retriever_tool(IndexRetriever(index=index, k=1), "library", "What the library says.")
    assert tool.invoke({"query": "late book"}) == "A late book costs ten cents a day."


def test_what_we_know_of_a_passage_goes_over_metadata_of_the_same_name() -> None:
    passage = Passage(
        chunk_id="c",
        document_id="d",
        title="Desk",
        text="nine",
        score=0.5,
        rank=2,
        metadata={"source": "upload", "page": 9, "language": "en", "score": "high"},
        source="desk.pdf",
        headings=("Hours", "Week"),
    )
    assert as_document(passage).metadata == {
        "source": "desk.pdf",
        "page": 9,
        "language": "en",
        "score": 0.5,
        "chunk_id": "c",
        "document_id": "d",
        "title": "Desk",
        "rank": 2,
        "headings": ["Hours", "Week"],
    }
