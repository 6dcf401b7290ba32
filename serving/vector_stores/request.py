"""What requests to /v1/vector_stores ask for: JSON bodies in, values or an `Invalid` that names the field out.

read_store(body)   read_attachment(body)   read_batch(body)   read_search(body)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from rag.chunking.chunk import ChunkSettings, chunking_strategy
from rag.documents.clean import clean
from rag.errors import RagError
from rag.search.filters import Filter, parse_filter
from serving.errors import Invalid
from serving.http.body import Fields, Metadata, read_model
from serving.vector_stores.rows import Attributes, Wanted

MAX_BATCH = 2_000
MAX_RESULTS = 50
MAX_QUERIES = 20
MAX_QUERY_CHARS = 4_096
MAX_ATTRIBUTES, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512


def _check_attributes(given: dict[str, Any]) -> dict[str, Any]:
    if len(given) > MAX_ATTRIBUTES:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes, not {len(given)}")
    for key, value in given.items():
        if not 1 <= len(key) <= MAX_KEY_CHARS:
            raise ValueError(f"a key has 1 to {MAX_KEY_CHARS} characters, not {key!r:.80}")
        if not isinstance(value, str | bool | int | float):
            raise ValueError(f"the value of {key!r} must be a string, a number or a boolean, not {value!r:.80}")
        # No filter takes it, and not every database.
        if "\0" in key or (isinstance(value, str) and "\0" in value):
            raise ValueError(f"{key!r} or its value holds a NUL character; leave it out")
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
            raise ValueError(f"the value of {key!r} has {len(value)} characters; at most {MAX_VALUE_CHARS}")
        # Numbers are compared as floats, which hold whole ones up to here.
        if isinstance(value, int | float) and not (math.isfinite(value) if isinstance(value, float) else _fits(value)):
            raise ValueError(f"the value of {key!r} is too large a number")
    return given


def _fits(value: int) -> bool:
    return abs(value) <= 2**53


AttributeMap = Annotated[dict[str, Any], AfterValidator(_check_attributes)]
StoreName = Annotated[str, Field(min_length=1, max_length=256)]
StoreMetadata = Annotated[Metadata, Field(max_length=16)]
FileIds = Annotated[list[str], Field(max_length=MAX_BATCH)]


class StoreFields(Fields):
    """The body of `POST /v1/vector_stores`."""

    name: StoreName | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    file_ids: FileIds = Field(default_factory=list)
    metadata: StoreMetadata | None = None
    chunking_strategy: Any = None
    expires_after: Any = None


class UpdateFields(Fields):
    """The body of `POST /v1/vector_stores/{id}`."""

    name: StoreName | None = None
    metadata: StoreMetadata | None = None
    expires_after: Any = None


class AttachFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/files`."""

    file_id: str
    attributes: AttributeMap | None = None
    chunking_strategy: Any = None


class AttributeFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/files/{file_id}`."""

    attributes: AttributeMap | None


class BatchFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/file_batches`."""

    file_ids: FileIds | None = None
    files: Annotated[list[dict[str, Any]], Field(max_length=MAX_BATCH)] | None = None
    attributes: AttributeMap | None = None
    chunking_strategy: Any = None


class RankingOptions(Fields):
    """How results are ranked; `none` leaves a reranker out where there is one."""

    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class SearchFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/search`."""

    query: str | list[str]
    filters: Any = None
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """Files that shall be in a store, each once. `chunking` None leaves the choice to the store."""

    files: tuple[Wanted, ...]
    chunking: ChunkSettings | None = None


@dataclass(frozen=True, slots=True)
class NewStore:
    """A vector store to be made, and the files it begins with."""

    name: str | None
    description: str | None
    metadata: Mapping[str, str] | None
    attachment: Attachment


@dataclass(frozen=True, slots=True)
class Search:
    """One search: at most `k` passages for all queries together."""

    queries: tuple[str, ...]
    k: int
    filters: Filter | None
    has_reranker: bool
    threshold: float | None
    is_rewritten: bool


def read_store(body: object) -> NewStore:
    """Validate a new vector store."""
    asked = read_model(StoreFields, body)
    _refuse_expiry(asked.expires_after)
    return NewStore(
        name=asked.name,
        description=asked.description,
        metadata=asked.metadata,
        attachment=_attachment([(file_id, {}) for file_id in asked.file_ids], asked.chunking_strategy),
    )


def read_update(body: object) -> dict[str, object]:
    """The changes to a vector store; null keeps the name and takes the metadata away."""
    asked = read_model(UpdateFields, body)
    _refuse_expiry(asked.expires_after)
    changes = asked.model_dump(exclude_unset=True, exclude={"expires_after"})
    return {key: value for key, value in changes.items() if key != "name" or value is not None}


def read_attachment(body: object) -> Attachment:
    """Validate a file to be attached."""
    asked = read_model(AttachFields, body)
    return _attachment([(asked.file_id, asked.attributes or {})], asked.chunking_strategy)


def read_attributes(body: object) -> Attributes:
    """The attributes that shall replace a file's; null is none."""
    return read_model(AttributeFields, body).attributes or {}


def read_batch(body: object) -> Attachment:
    """Validate files to be attached together."""
    asked = read_model(BatchFields, body)
    if (asked.file_ids is None) == (asked.files is None):
        raise Invalid("file_ids: give either file_ids or files", param="file_ids")
    if asked.file_ids is not None:
        if not asked.file_ids:
            raise Invalid("file_ids: names no file", param="file_ids")
        return _attachment([(one, asked.attributes or {}) for one in asked.file_ids], asked.chunking_strategy)
    for name in ("attributes", "chunking_strategy"):
        if getattr(asked, name) is not None:
            raise Invalid(f"{name}: give it with each of files", param=name)
    files = [read_model(AttachFields, one, at=f"files[{number}]") for number, one in enumerate(asked.files or [])]
    if not files:
        raise Invalid("files: names no file", param="files")
    chunkings = {
        _chunking(file.chunking_strategy, f"files[{number}].chunking_strategy") for number, file in enumerate(files)
    }
    if len(chunkings) > 1:
        raise Invalid(
            "files: a vector store cuts all its files alike; give each the same chunking_strategy", param="files"
        )
    return Attachment(_once([(file.file_id, file.attributes or {}) for file in files]), chunkings.pop())


def read_search(body: object) -> Search:
    """Validate a search."""
    asked = read_model(SearchFields, _with_readable_query(body))
    queries = (asked.query,) if isinstance(asked.query, str) else tuple(asked.query)
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise Invalid(f"query: give 1 to {MAX_QUERIES} queries, not {len(queries)}", param="query")
    for query in queries:
        if not clean(query).strip() or len(query) > MAX_QUERY_CHARS:
            raise Invalid(f"query: must have 1 to {MAX_QUERY_CHARS} characters, not {query!r:.80}", param="query")
    options = asked.ranking_options or RankingOptions()
    try:
        filters = parse_filter(asked.filters) if asked.filters is not None else None
    except RagError as error:
        raise Invalid(f"filters: {error}", param="filters") from error
    return Search(
        queries=queries,
        k=asked.max_num_results,
        filters=filters,
        has_reranker=options.ranker != "none",
        threshold=options.score_threshold,
        is_rewritten=asked.rewrite_query,
    )


def _with_readable_query(body: object) -> object:
    """The body, its query checked here: the words for a union's faults name branches that nobody asked for."""
    if isinstance(body, dict) and "query" in body:
        query = body["query"]
        if not isinstance(query, str) and not (isinstance(query, list) and all(isinstance(q, str) for q in query)):
            raise Invalid(f"query: must be a text or a list of texts, not {query!r:.80}", param="query")
    return body


def _attachment(files: list[tuple[str, Attributes]], strategy: object) -> Attachment:
    return Attachment(_once(files), _chunking(strategy, "chunking_strategy"))


def _once(files: list[tuple[str, Attributes]]) -> tuple[Wanted, ...]:
    """Each file once, with the attributes it was given last."""
    return tuple(Wanted(file_id, attributes) for file_id, attributes in dict(files).items())


def _chunking(strategy: object, param: str) -> ChunkSettings | None:
    try:
        settings = chunking_strategy(strategy)
    except RagError as error:
        raise Invalid(str(error), param=param) from error
    is_auto = strategy is None or (isinstance(strategy, Mapping) and strategy.get("type") == "auto")
    return None if is_auto else settings


def _refuse_expiry(expires_after: object) -> None:
    if expires_after is not None:
        raise Invalid("expires_after: not supported; delete the vector store when it is done", param="expires_after")
