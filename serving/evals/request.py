"""What requests to /v1/evals ask for: the fields of their bodies, which pydantic checks, and what they mean.

check_eval(asked, embed=embed)   asked.card()   read_rows(asked, item_schema, files)   source.chat_request(item)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from eval.errors import EvalError
from eval.graders import Criterion, TextSimilarity, look_up, references, render, similarity
from eval.scorer import Embed
from serving.chat.request import ChatBody, check_asked
from serving.errors import Invalid
from serving.evals.schemas import find_fault
from serving.http.body import MAX_BODY_BYTES, Fields, Metadata, decode, read_model
from serving.vector_stores.files import FileStore

_TEXT_PARTS = ("text", "input_text", "output_text")
# What graders can name of a generated answer; OpenAI shows it beside the item's own schema.
_SAMPLE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "output_text": {"type": "string"},
        "output_json": {},
        "finish_reason": {"type": "string"},
        "choices": {"type": "array"},
    },
    "required": ["model", "output_text"],
}


def _check_known(template: str) -> None:
    for path in references(template):
        if not path.startswith("item."):
            raise ValueError(f"{path} is not known before the answer; use item.NAME")


def _check_path(path: str) -> str:
    _check_known(f"{{{{{path}}}}}")
    return path


def _check_content(content: object) -> object:
    """A message before the answer: text, or text parts, with references to the row alone."""
    _check_known(_text(content))
    return content


def _text(content: object) -> str:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be text; images and sound cannot be answered")
    return "\n".join(str(text) for text in texts)


Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class CustomSource(Fields):
    """The only `data_source_config`: no completions are stored that logs could be made of."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


_EVAL_EXAMPLE: dict[str, Any] = {
    "name": "Opening hours",
    "data_source_config": {
        "type": "custom",
        "item_schema": {"type": "object", "required": ["question", "answer"]},
        "include_sample_schema": True,
    },
    "testing_criteria": [
        {
            "type": "string_check",
            "name": "same",
            "operation": "ilike",
            "input": "{{sample.output_text}}",
            "reference": "{{item.answer}}",
        }
    ],
}


class CreateEval(Fields, json_schema_extra={"examples": [_EVAL_EXAMPLE]}):
    """The body of `POST /v1/evals`."""

    data_source_config: CustomSource
    testing_criteria: Annotated[list[Criterion], Field(min_length=1)]
    name: Name | None = None
    metadata: Metadata | None = None

    def card(self) -> dict[str, Any]:
        """The eval in OpenAI's shape, but for its id."""
        config = self.data_source_config
        parts = {"item": config.item_schema} | ({"sample": _SAMPLE_SCHEMA} if config.include_sample_schema else {})
        return {
            "object": "eval",
            "name": self.name,
            "data_source_config": {
                "type": "custom",
                "schema": {"type": "object", "properties": parts, "required": list(parts)},
            },
            "testing_criteria": [criterion.model_dump() for criterion in self.testing_criteria],
            "metadata": self.metadata,
        }


class UpdateEval(Fields, json_schema_extra={"examples": [{"name": "Opening hours, 2026"}]}):
    """The body of `POST /v1/evals/{id}`."""

    name: Annotated[Name, Field(description="An eval keeps a name; leave it out to keep this one.")] = ""
    metadata: Metadata | None = None


class Row(Fields):
    """One row of a run's data; `sample` is an answer that was given elsewhere."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(Fields):
    """Rows that come with the request."""

    type: Literal["file_content"]
    content: Annotated[list[Row], Field(min_length=1)]


class FileId(Fields):
    """Rows that stand in an uploaded file, one JSON object a line."""

    type: Literal["file_id"]
    id: str


Source = Annotated[FileContent | FileId, Field(discriminator="type")]


class SamplingParams(Fields):
    """How answers are drawn; what is left out is as the arm has it."""

    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None


class TemplateMessage(Fields):
    """A message with references to the row in it, such as `{{item.question}}`."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[Any, AfterValidator(_check_content)]
    type: Any = None


class TemplateMessages(Fields):
    """Messages that are made of each row."""

    type: Literal["template"]
    template: Annotated[list[TemplateMessage], Field(min_length=1), AfterValidator(check_asked)]


class ItemMessages(Fields):
    """Messages that stand in the row, such as `item.conversation`."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, AfterValidator(_check_path)]


class JsonlSource(Fields):
    """A run that grades answers which the rows bring."""

    type: Literal["jsonl"]
    source: Source


class CompletionsSource(Fields):
    """A run that asks `model` each row and grades the answers."""

    type: Literal["completions"]
    source: Source
    model: str
    input_messages: Annotated[TemplateMessages | ItemMessages, Field(discriminator="type")]
    sampling_params: SamplingParams | None = None

    def chat_request(self, item: Mapping[str, Any]) -> ChatBody:
        """A row as the chat request it stands for. Raises EvalError or Invalid for a row that cannot be asked."""
        values, asked = {"item": item}, self.input_messages
        if isinstance(asked, ItemMessages):
            messages = look_up(asked.item_reference, values)
        else:
            messages = [{"role": one.role, "content": render(_text(one.content), values)} for one in asked.template]
        options = self.sampling_params.model_dump(exclude_none=True) if self.sampling_params is not None else {}
        return read_model(ChatBody, {"messages": messages, **options})


_RUN_EXAMPLE: dict[str, Any] = {
    "name": "first",
    "data_source": {
        "type": "completions",
        "model": "auto",
        "input_messages": {
            "type": "template",
            "template": [{"role": "user", "content": "{{item.question}}"}],
        },
        "source": {
            "type": "file_content",
            "content": [{"item": {"question": "When does the desk open?", "answer": "nine"}}],
        },
    },
}


class CreateRun(Fields, json_schema_extra={"examples": [_RUN_EXAMPLE]}):
    """The body of `POST /v1/evals/{id}/runs`."""

    data_source: Annotated[JsonlSource | CompletionsSource, Field(discriminator="type")]
    name: Name | None = None
    metadata: Metadata | None = None


def check_eval(asked: CreateEval, *, embed: Embed | None = None) -> None:
    """Refuse a schema that is none, and criteria that cannot be graded here; `embed` says whether `cosine` can be had.

    Raises Invalid.
    """
    if (fault := find_fault(asked.data_source_config.item_schema)) is not None:
        param = "data_source_config.item_schema"
        raise Invalid(f"{param}: {fault.message}", param=param)
    names = [criterion.name for criterion in asked.testing_criteria]
    for number, criterion in enumerate(asked.testing_criteria):
        at = f"testing_criteria[{number}]"
        if criterion.name in names[:number]:
            raise Invalid(f"{at}.name: {criterion.name!r} is taken; give each its own", param=f"{at}.name")
        try:
            if isinstance(criterion, TextSimilarity):
                similarity(criterion.evaluation_metric, embed)
        except EvalError as error:
            param = f"{at}.evaluation_metric"
            raise Invalid(f"{param}: {error}", param=param, code="unsupported_value") from error


def read_rows(asked: CreateRun, item_schema: Mapping[str, Any], files: FileStore) -> list[dict[str, Any]] | None:
    """The rows of a new run that stand in a file, None for those in the request; all are checked against the schema.

    They are read now and kept with the run: the file may be deleted meanwhile. Raises Invalid and NotFound.
    """
    source, content = asked.data_source.source, None
    if isinstance(source, FileId):
        content = _file_rows(source.id, files)
        given = {"type": "jsonl", "source": {"type": "file_content", "content": content}}
        source = read_model(CreateRun, {"data_source": given}).data_source.source
    assert isinstance(source, FileContent)
    if isinstance(asked.data_source, CompletionsSource):
        for number, row in enumerate(source.content):
            if row.sample is not None:
                param = f"data_source.source.content[{number}].sample"
                raise Invalid(f"{param}: a completions run generates the sample; use type jsonl", param=param)
    fault = find_fault(item_schema, [row.item for row in source.content])
    if fault is not None and fault.item is None:
        raise Invalid(f"the eval's item_schema {fault.message}", param="data_source.source")
    if fault is not None:
        param = f"data_source.source.content[{fault.item}].item{fault.place}"
        raise Invalid(f"{param}: {fault.message}", param=param)
    return content


def _file_rows(file_id: str, files: FileStore) -> list[Any]:
    """The decoded lines of a JSONL file with purpose `evals`, blank ones left out."""
    param = "data_source.source.id"
    stored = files.get(file_id, param=param)
    if stored.purpose != "evals":
        raise Invalid(f"file {file_id!r} was uploaded with purpose {stored.purpose!r}, not evals", param=param)
    if stored.num_bytes > MAX_BODY_BYTES:
        raise Invalid(
            f"file {file_id!r} has {stored.num_bytes} bytes; a run takes {MAX_BODY_BYTES}, split it", param=param
        )
    rows = []
    with files.open(file_id) as content:
        for number, line in enumerate(content, start=1):
            if line.strip():
                rows.append(decode(line, f"line {number} of {file_id!r}", param=param))
    return rows
