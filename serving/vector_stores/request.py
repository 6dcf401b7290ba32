"""What requests to /v1/vector_stores ask for: the fields of their bodies, which pydantic checks, and what they mean.

StoreFields(file_ids=["file-1"]).wanted()   SearchFields(query="desk").query
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SkipValidation, ValidationInfo, field_validator

from rag.chunking.chunk import ChunkSettings
from rag.documents.clean import clean
from rag.errors import RagError
from rag.search.filters import Filter, parse_filter
from serving.errors import Invalid
from serving.http.body import Fields, Metadata
from serving.vector_stores.rows import MAX_ATTRIBUTES, MAX_KEY_CHARS, MAX_VALUE_CHARS, Attributes

MAX_BATCH = 2_000
MAX_RESULTS = 50
MAX_QUERIES = 20
MAX_QUERY_CHARS = 4_096


def _check_attributes(given: dict[str, Any]) -> dict[str, Any]:
    if len(given) > MAX_ATTRIBUTES:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes, not {len(given)}")
    for key, value in given.items():
        match value:
            case str():
                is_fit = len(value) <= MAX_VALUE_CHARS
            case int():
                # Numbers are compared as floats, which hold whole ones up to here.
                is_fit = abs(value) <= 2**53
            case _:
                is_fit = isinstance(value, float) and math.isfinite(value)
        # No filter takes a NUL, and not every database.
        if not is_fit or not 1 <= len(key) <= MAX_KEY_CHARS or "\0" in f"{key}{value}":
            raise ValueError(
                f"{key!r:.80} cannot be {value!r:.80}: a key has 1 to {MAX_KEY_CHARS} characters, a value is a text of "
                f"up to {MAX_VALUE_CHARS}, a number up to 2**53 or a boolean, and neither holds a NUL character"
            )
    return given


def _filters(given: object) -> Filter | None:
    try:
        return parse_filter(given) if given is not None else None
    except RagError as error:
        raise ValueError(str(error)) from error


def _queries(given: object) -> list[str]:
    """The queries; the words for a union's faults would name branches that nobody asked for."""
    queries = [given] if isinstance(given, str) else given
    if (
        not isinstance(queries, list)
        or not 1 <= len(queries) <= MAX_QUERIES
        or not all(isinstance(one, str) and clean(one).strip() and len(one) <= MAX_QUERY_CHARS for one in queries)
    ):
        raise ValueError(
            f"must be a text of 1 to {MAX_QUERY_CHARS} characters, or a list of 1 to {MAX_QUERIES}, not {given!r:.80}"
        )
    return queries


def _refuse_expiry(given: object) -> None:
    if given is not None:
        raise ValueError("not supported; delete the vector store when it is done")


AttributeMap = Annotated[dict[str, Any], AfterValidator(_check_attributes)]
Expiry = Annotated[Any, BeforeValidator(_refuse_expiry), Field(description="Not supported; leave it out.")]
StoreName = Annotated[str, Field(min_length=1, max_length=256)]
FileIds = Annotated[list[str], Field(max_length=MAX_BATCH)]


@dataclass(frozen=True, slots=True)
class Attachment:
    """Files that shall be in a store, by id, with their attributes. `chunking` None leaves the choice to the store."""

    files: Mapping[str, Attributes]
    chunking: ChunkSettings | None = None


class AutoChunking(Fields):
    """Files are cut as the store's are, or as this server cuts them."""

    type: Literal["auto"]


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


Chunking = Annotated[AutoChunking | StaticChunking, Field(discriminator="type")] | None


class StoreFields(Fields, json_schema_extra={"examples": [{"name": "Opening hours", "file_ids": ["file-1a2b"]}]}):
    """The body of `POST /v1/vector_stores`."""

    name: StoreName | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    file_ids: FileIds = Field(default_factory=list)
    metadata: Metadata | None = None
    chunking_strategy: Chunking = None
    expires_after: Expiry = None

    def wanted(self) -> Attachment:
        """The files that the store begins with."""
        return Attachment({file_id: {} for file_id in self.file_ids}, _settings(self.chunking_strategy))


class UpdateFields(Fields, json_schema_extra={"examples": [{"name": "Hours", "metadata": {"team": "desk"}}]}):
    """The body of `POST /v1/vector_stores/{id}`; null keeps the name and takes the metadata away."""

    name: StoreName | None = None
    metadata: Metadata | None = None
    expires_after: Expiry = None

    def changes(self) -> dict[str, object]:
        """What changes, by the row's names."""
        given = self.model_dump(exclude_unset=True, exclude={"expires_after"})
        return {key: value for key, value in given.items() if key != "name" or value is not None}


class AttachFields(Fields, json_schema_extra={"examples": [{"file_id": "file-1a2b", "attributes": {"year": 2026}}]}):
    """The body of `POST /v1/vector_stores/{id}/files`."""

    file_id: str
    attributes: AttributeMap | None = None
    chunking_strategy: Chunking = None


class AttributeFields(Fields, json_schema_extra={"examples": [{"attributes": {"year": 2027}}]}):
    """The body of `POST /v1/vector_stores/{id}/files/{file_id}`: what replaces the file's attributes; null is none."""

    attributes: AttributeMap | None


class BatchFields(Fields, json_schema_extra={"examples": [{"file_ids": ["file-1a2b", "file-3c4d"]}]}):
    """The body of `POST /v1/vector_stores/{id}/file_batches`: `file_ids`, or `files` with their own attributes."""

    file_ids: FileIds | None = None
    files: Annotated[list[AttachFields], Field(max_length=MAX_BATCH)] | None = None
    attributes: AttributeMap | None = None
    chunking_strategy: Chunking = None

    def wanted(self) -> Attachment:
        """The files, each as it was given last. Raises Invalid for fields that do not go together."""
        if (self.file_ids is None) == (self.files is None):
            raise Invalid("file_ids: give either file_ids or files", param="file_ids")
        name = "files" if self.file_ids is None else "file_ids"
        if not (self.file_ids or self.files):
            raise Invalid(f"{name}: names no file", param=name)
        if self.file_ids is not None:
            wanted = dict.fromkeys(self.file_ids, self.attributes or {})
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
        return Attachment({file.file_id: file.attributes or {} for file in files}, chunkings.pop())


class RankingOptions(Fields):
    """How results are ranked; `none` leaves a reranker out where there is one."""

    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None


_SEARCH_EXAMPLE: dict[str, Any] = {
    "query": "When does the desk open?",
    "max_num_results": 3,
    "filters": {"type": "gte", "key": "year", "value": 2026},
}


class SearchFields(Fields, json_schema_extra={"examples": [_SEARCH_EXAMPLE]}):
    """The body of `POST /v1/vector_stores/{id}/search`."""

    query: Annotated[list[str], BeforeValidator(_queries, json_schema_input_type=str | list[str])]
    filters: Annotated[
        SkipValidation[Filter | None], BeforeValidator(_filters, json_schema_input_type=dict[str, Any] | None)
    ] = None
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = False


def _settings(chunking: Chunking) -> ChunkSettings | None:
    if not isinstance(chunking, StaticChunking):
        return None
    return ChunkSettings(chunking.static.max_chunk_size_tokens, chunking.static.chunk_overlap_tokens, "tokens")
