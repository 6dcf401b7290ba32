"""What requests to /v1/evals ask for: the fields of their bodies, which pydantic checks, and what a run does with them.

check_eval(asked, embed=embed)     read_run(asked, item_schema) -> data source     read_plan(data_source) -> RunPlan
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from eval.errors import EvalError
from eval.graders import read_grader, similarities
from eval.scorer import Embed
from eval.templates import TemplateError, look_up, references, render
from serving.chat.request import ChatRequest, read_chat_request
from serving.errors import Invalid
from serving.http.body import Fields, Metadata, read_model

_TEXT_PARTS = ("text", "input_text", "output_text")


def _check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        raise ValueError(f"is no JSON Schema: {getattr(error, 'message', 'nested too deeply')}") from error
    return schema


def _check_template(template: str) -> str:
    try:
        references(template)
    except TemplateError as error:
        raise ValueError(str(error)) from error
    return template


def _check_path(path: str) -> str:
    return _check_template(f"{{{{{path}}}}}") and path


def _check_content(content: object) -> object:
    """A message before the answer: text, or text parts, with references to the row alone."""
    for path in references(_check_template(_text(content))):
        if not path.startswith("item."):
            raise ValueError(f"{path} is not known before the answer; use item.NAME")
    return content


def _text(content: object) -> str:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be text; images and sound cannot be answered")
    return "\n".join(str(text) for text in texts)


Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Labels = Annotated[Metadata, Field(max_length=16)]
Template = Annotated[str, AfterValidator(_check_template)]


class CustomSource(Fields):
    """The only `data_source_config`: no completions are stored that logs could be made of."""

    type: Literal["custom"]
    item_schema: Annotated[dict[str, Any], AfterValidator(_check_schema)]
    include_sample_schema: bool = False


class StringCheck(Fields):
    """A criterion that compares two texts."""

    type: Literal["string_check"]
    name: Name
    input: Template
    reference: Template
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Fields):
    """A criterion that passes when two texts are similar enough."""

    type: Literal["text_similarity"]
    name: Name
    input: Template
    reference: Template
    evaluation_metric: str
    pass_threshold: Annotated[float, Field(ge=0, le=1)]


class CreateEval(Fields):
    """The body of `POST /v1/evals`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
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
            ]
        }
    )

    data_source_config: CustomSource
    testing_criteria: Annotated[
        list[Annotated[StringCheck | TextSimilarity, Field(discriminator="type")]], Field(min_length=1)
    ]
    name: Name | None = None
    metadata: Labels | None = None


class UpdateEval(Fields):
    """The body of `POST /v1/evals/{id}`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Opening hours, 2026"}]})

    name: Annotated[Name, Field(description="An eval keeps a name; leave it out to keep this one.")] = ""
    metadata: Labels | None = None


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


def _asks(template: list[TemplateMessage]) -> list[TemplateMessage]:
    if not any(message.role == "user" for message in template):
        raise ValueError("holds no user message; add one with the question")
    return template


class TemplateMessages(Fields):
    """Messages that are made of each row."""

    type: Literal["template"]
    template: Annotated[list[TemplateMessage], Field(min_length=1), AfterValidator(_asks)]


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


class CreateRun(Fields):
    """The body of `POST /v1/evals/{id}/runs`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
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
            ]
        }
    )

    data_source: Annotated[JsonlSource | CompletionsSource, Field(discriminator="type")]
    name: Name | None = None
    metadata: Labels | None = None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run does with each row: ask `model` (None where the rows bring their answers) and grade.

    `template` holds (role, text) pairs; where it is None, the messages stand in the row at `reference`.
    """

    rows: tuple[Row, ...]
    model: str | None = None
    template: tuple[tuple[str, str], ...] | None = None
    reference: str | None = None
    options: Mapping[str, object] | None = None

    def chat_request(self, row: Row) -> ChatRequest:
        """The row as the chat request it stands for. Raises EvalError or Invalid for a row that cannot be asked."""
        values = {"item": row.item}
        if self.template is not None:
            messages: object = [{"role": role, "content": render(text, values)} for role, text in self.template]
        else:
            messages = look_up(str(self.reference), values)
        return read_chat_request({"messages": messages, **(self.options or {})})


def check_eval(asked: CreateEval, *, embed: Embed | None = None) -> None:
    """Refuse criteria that cannot be graded here; `embed` says whether `cosine` can be had. Raises Invalid."""
    known = similarities(has_embedder=embed is not None)
    names: set[str] = set()
    for number, criterion in enumerate(asked.testing_criteria):
        at = f"testing_criteria[{number}]"
        if criterion.name in names:
            raise Invalid(f"{at}.name: {criterion.name!r} is taken; give each its own", param=f"{at}.name")
        names.add(criterion.name)
        if isinstance(criterion, TextSimilarity) and criterion.evaluation_metric not in known:
            param = f"{at}.evaluation_metric"
            message = f"{param}: {criterion.evaluation_metric!r} is not supported; use {', '.join(known)}"
            raise Invalid(message, param=param, code="unsupported_value")
        try:
            read_grader(criterion.model_dump(), embed=embed)
        except EvalError as error:
            raise Invalid(f"{at}: {error}", param=at) from error


def read_run(
    asked: CreateRun, item_schema: Mapping[str, Any], *, read_file: Callable[[str], list[Any]] | None = None
) -> dict[str, Any]:
    """The data source of a new run, its rows checked against the eval's schema. Raises Invalid and NotFound.

    Rows in an uploaded file are read now, by `read_file`, and kept with the run: the file may be deleted meanwhile.
    """
    data_source = asked.data_source.model_dump(exclude_unset=True)
    source = asked.data_source.source
    if isinstance(source, FileId):
        if read_file is None:
            param = "data_source.source.type"
            raise Invalid(f"{param}: 'file_id' is not supported; use 'file_content'", param=param)
        data_source["source"] = {"type": "file_content", "content": read_file(source.id)}
        data_source["file_id"] = source.id
    plan = read_plan(data_source)
    for number, row in enumerate(plan.rows):
        if plan.model is not None and row.sample is not None:
            param = f"data_source.source.content[{number}].sample"
            raise Invalid(f"{param}: a completions run generates the sample; use type jsonl", param=param)
    check_items(item_schema, plan.rows)
    return data_source


def shown_source(data_source: Mapping[str, Any]) -> dict[str, Any]:
    """A run's `data_source` as it was asked for."""
    shown = dict(data_source)
    file_id = shown.pop("file_id", None)
    return shown if file_id is None else {**shown, "source": {"type": "file_id", "id": file_id}}


def read_plan(data_source: Mapping[str, Any]) -> RunPlan:
    """The plan of a run's `data_source`. Raises Invalid."""
    asked = {name: value for name, value in data_source.items() if name != "file_id"}
    read = read_model(CreateRun, {"data_source": asked}).data_source
    assert isinstance(read.source, FileContent), "rows of files are kept with the run"
    rows = tuple(read.source.content)
    if isinstance(read, JsonlSource):
        return RunPlan(rows=rows)
    messages = read.input_messages
    template = None
    if isinstance(messages, TemplateMessages):
        template = tuple((str(message.role), _text(message.content)) for message in messages.template)
    return RunPlan(
        rows=rows,
        model=read.model,
        template=template,
        reference=messages.item_reference if isinstance(messages, ItemMessages) else None,
        options=(read.sampling_params or SamplingParams()).model_dump(exclude_none=True),
    )


def check_items(schema: Mapping[str, Any], rows: tuple[Row, ...]) -> None:
    """Refuse rows that are not what the eval's `item_schema` says."""
    import jsonschema
    import referencing
    import referencing.exceptions

    # With a registry of its own the validator fetches nothing: a schema must not make the server call addresses.
    validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
    for number, row in enumerate(rows):
        param = f"data_source.source.content[{number}].item"
        try:
            fault = next(validator.iter_errors(row.item), None)
        except (referencing.exceptions.Unresolvable, RecursionError) as error:
            raise Invalid(f"the eval's item_schema cannot be followed: {error}", param=param) from error
        if fault is not None:
            place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in fault.absolute_path)
            raise Invalid(f"{param}{place}: {fault.message[:300]}", param=f"{param}{place}")
