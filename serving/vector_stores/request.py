"""What requests to /v1/vector_stores ask for: the fields of their bodies, which pydantic checks, and what they mean.

StoreFields(file_ids=["file-1"]).wanted()   SearchFields(query="desk").query
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SkipValidation, ValidationInfo, field_validator

from rag.chunking.chunk import ChunkSettings
from rag.documents.clean import clean
from rag.errors import RagError
from rag.search.filters import Filter, parse_filter
from serving.errors import Invalid
from serving.http.body import Fields, Metadata
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


def _filters(given: object) -> Filter | None:
    try:
        return parse_filter(given) if given is not None else None
    except RagError as error:
        raise ValueError(str(error)) from error


def _queries(given: object) -> list[str]:
    """The queries; the words for a union's faults would name branches that nobody asked for."""
    queries = [given] if isinstance(given, str) else given
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError(f"must be a text or a list of texts, not {given!r:.80}")
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise ValueError(f"give 1 to {MAX_QUERIES} queries, not {len(queries)}")
    for query in queries:
        if not clean(query).strip() or len(query) > MAX_QUERY_CHARS:
            raise ValueError(f"must have 1 to {MAX_QUERY_CHARS} characters, not {query!r:.80}")
    return queries


def _refuse_expiry(given: object) -> None:
    if given is not None:
        raise ValueError("not supported; delete the vector store when it is done")


AttributeMap = Annotated[dict[str, Any], AfterValidator(_check_attributes)]
Expiry = Annotated[Any, BeforeValidator(_refuse_expiry), Field(description="Not supported; leave it out.")]
StoreName = Annotated[str, Field(min_length=1, max_length=256)]
StoreMetadata = Annotated[Metadata, Field(max_length=16)]
FileIds = Annotated[list[str], Field(max_length=MAX_BATCH)]


@dataclass(frozen=True, slots=True)
class Attachment:
    """Files that shall be in a store, each once. `chunking` None leaves the choice to the store."""

    files: tuple[Wanted, ...]
    chunking: ChunkSettings | None = None


class AutoChunking(Fields):
    """Files are cut as the store's are, or as this server cuts them."""

    type: Literal["auto"]

    def settings(self) -> None:
        """The store's, or this server's."""


class StaticSizes(Fields):
    """Chunks in the embedder's tokens; the overlap is at most half of the size."""

    max_chunk_size_tokens: Annotated[int, Field(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0)]

    @field_validator("chunk_overlap_tokens")
    @classmethod
    def _check(cls, overlap: int, known: ValidationInfo) -> int:
        if overlap > (half := known.data.get("max_chunk_size_tokens", 2 * overlap) // 2):
            raise ValueError(f"must be from 0 to half of max_chunk_size_tokens ({half}), not {overlap}")
        return overlap


class StaticChunking(Fields):
    """Chunks of one size. A vector store cuts all its files alike."""

    type: Literal["static"]
    static: StaticSizes

    def settings(self) -> ChunkSettings:
        """The same in our words."""
        return ChunkSettings(self.static.max_chunk_size_tokens, self.static.chunk_overlap_tokens, "tokens")


Chunking = Annotated[AutoChunking | StaticChunking, Field(discriminator="type")] | None


class StoreFields(Fields):
    """The body of `POST /v1/vector_stores`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Opening hours", "file_ids": ["file-1a2b"]}]})

    name: StoreName | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    file_ids: FileIds = Field(default_factory=list)
    metadata: StoreMetadata | None = None
    chunking_strategy: Chunking = None
    expires_after: Expiry = None

    def wanted(self) -> Attachment:
        """The files that the store begins with."""
        return Attachment(_once([(file_id, {}) for file_id in self.file_ids]), _settings(self.chunking_strategy))


class UpdateFields(Fields):
    """The body of `POST /v1/vector_stores/{id}`; null keeps the name and takes the metadata away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Hours", "metadata": {"team": "desk"}}]})

    name: StoreName | None = None
    metadata: StoreMetadata | None = None
    expires_after: Expiry = None

    def changes(self) -> dict[str, object]:
        """What changes, by the row's names."""
        given = self.model_dump(exclude_unset=True, exclude={"expires_after"})
        return {key: value for key, value in given.items() if key != "name" or value is not None}


class AttachFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/files`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"file_id": "file-1a2b", "attributes": {"year": 2026}}]})

    file_id: str
    attributes: AttributeMap | None = None
    chunking_strategy: Chunking = None

    def wanted(self) -> Attachment:
        """The file, as an attachment."""
        return Attachment((Wanted(self.file_id, self.attributes or {}),), _settings(self.chunking_strategy))


class AttributeFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/files/{file_id}`: what replaces the file's attributes; null is none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attributes": {"year": 2027}}]})

    attributes: AttributeMap | None


class BatchFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/file_batches`: `file_ids`, or `files` with their own attributes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"file_ids": ["file-1a2b", "file-3c4d"]}]})

    file_ids: FileIds | None = None
    files: Annotated[list[AttachFields], Field(max_length=MAX_BATCH)] | None = None
    attributes: AttributeMap | None = None
    chunking_strategy: Chunking = None

    def wanted(self) -> Attachment:
        """The files, each once. Raises Invalid for fields that do not go together."""
        if (self.file_ids is None) == (self.files is None):
            raise Invalid("file_ids: give either file_ids or files", param="file_ids")
        name = "files" if self.file_ids is None else "file_ids"
        if not (self.file_ids or self.files):
            raise Invalid(f"{name}: names no file", param=name)
        if self.file_ids is not None:
            wanted = _once([(one, self.attributes or {}) for one in self.file_ids])
            return Attachment(wanted, _settings(self.chunking_strategy))
        for name in ("attributes", "chunking_strategy"):
            if getattr(self, name) is not None:
                raise Invalid(f"{name}: give it with each of files", param=name)
        files = self.files or []
        chunkings = {_settings(file.chunking_strategy) for file in files}
        if len(chunkings) > 1:
            raise Invalid(
                "files: a vector store cuts all its files alike; give each the same chunking_strategy", param="files"
            )
        return Attachment(_once([(file.file_id, file.attributes or {}) for file in files]), chunkings.pop())


class RankingOptions(Fields):
    """How results are ranked; `none` leaves a reranker out where there is one."""

    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class SearchFields(Fields):
    """The body of `POST /v1/vector_stores/{id}/search`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "When does the desk open?",
                    "max_num_results": 3,
                    "filters": {"type": "gte", "key": "year", "value": 2026},
                }
            ]
        }
    )

    query: Annotated[list[str], BeforeValidator(_queries, json_schema_input_type=str | list[str])]
    filters: Annotated[
        SkipValidation[Filter | None], BeforeValidator(_filters, json_schema_input_type=dict[str, Any] | None)
    ] = None
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = False


def _once(files: list[tuple[str, Attributes]]) -> tuple[Wanted, ...]:
    """Each file once, with the attributes it was given last."""
    return tuple(Wanted(file_id, attributes) for file_id, attributes in dict(files).items())


def _settings(chunking: Chunking) -> ChunkSettings | None:
    return chunking.settings() if chunking is not None else None
