"""What requests to /v1/evals ask for: JSON bodies in, values or an `Invalid` that names the field out.

read_eval(body) -> CreateEval      read_run(body, stored_eval) -> CreateRun      read_plan(data_source) -> RunPlan
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from eval.errors import EvalError
from eval.graders import Embed, read_grader, similarities
from eval.templates import TemplateError, look_up, references, render
from serving.chat.request import ChatRequest, read_chat_request
from serving.errors import Invalid, Refused
from serving.http.body import Fields, Metadata, read_model

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_TYPES = ("completions", "jsonl")
_ROLES = ("user", "assistant", "system", "developer")
_TEXT_PARTS = ("text", "input_text", "output_text")


class CustomSource(Fields):
    """`data_source_config` of type custom."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class StringCheck(Fields):
    """A criterion that compares two texts."""

    type: Literal["string_check"]
    name: Name
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Fields):
    """A criterion that passes when two texts are similar enough."""

    type: Literal["text_similarity"]
    name: Name
    input: str
    reference: str
    evaluation_metric: str
    pass_threshold: Annotated[float, Field(ge=0, le=1)]


class CreateEval(Fields):
    """The body of `POST /v1/evals`."""

    data_source_config: dict[str, Any]
    testing_criteria: Annotated[list[dict[str, Any]], Field(min_length=1)]
    name: Name | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None


class UpdateEval(Fields):
    """The body of `POST /v1/evals/{id}`."""

    name: Name | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None


class CreateRun(Fields):
    """The body of `POST /v1/evals/{id}/runs`."""

    data_source: dict[str, Any]
    name: Name | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None


class Row(Fields):
    """One row of a run's data; `sample` is an answer that was given elsewhere."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(Fields):
    """Rows that come with the request, or that were read from the file `file_id` and are kept with the run."""

    type: Literal["file_content"]
    content: Annotated[list[Row], Field(min_length=1)]
    file_id: str | None = None


class FileId(Fields):
    """Rows that stand in an uploaded file."""

    type: Literal["file_id"]
    id: str


class SamplingParams(Fields):
    """How answers are drawn; what is left out is as the arm has it."""

    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None


class Source(Fields):
    """A run's `data_source`, its parts still unread."""

    type: str
    source: dict[str, Any]
    input_messages: dict[str, Any] | None = None
    model: str | None = None
    sampling_params: dict[str, Any] | None = None


class TemplateMessages(Fields):
    """Messages with references in them."""

    type: Literal["template"]
    template: Annotated[list[dict[str, Any]], Field(min_length=1)]


class ItemMessages(Fields):
    """Messages that stand in the row, such as `item.conversation`."""

    type: Literal["item_reference"]
    item_reference: str


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
        """The row as the chat request it stands for. Raises EvalError or Refused for a row that cannot be asked."""
        values = {"item": row.item}
        if self.template is not None:
            messages: object = [{"role": role, "content": render(text, values)} for role, text in self.template]
        else:
            messages = look_up(str(self.reference), values)
        return read_chat_request({"messages": messages, **(self.options or {})})


def read_eval(body: object, *, embed: Embed | None = None) -> CreateEval:
    """Validate a new eval. `embed` says whether `cosine` can be had."""
    asked = read_model(CreateEval, body)
    config = asked.data_source_config
    if config.get("type") in ("logs", "stored_completions"):
        raise Invalid(
            f"data_source_config.type {config['type']!r} is not supported, as no completions are stored; use custom",
            param="data_source_config.type",
        )
    source = read_model(CustomSource, config, at="data_source_config")
    check_schema(source.item_schema)
    names: set[str] = set()
    for number, criterion in enumerate(asked.testing_criteria):
        at = f"testing_criteria[{number}]"
        _read_criterion(criterion, at, embed)
        if criterion["name"] in names:
            raise Invalid(f"{at}.name {criterion['name']!r} is taken; give each its own", param=f"{at}.name")
        names.add(criterion["name"])
    return asked


def read_run(
    body: object, item_schema: Mapping[str, Any], *, read_file: Callable[[str], list[Any]] | None = None
) -> CreateRun:
    """Validate a new run, its rows against the eval's schema.

    Rows in an uploaded file are read now, by `read_file`, and kept with the run: the file may be deleted meanwhile.
    """
    asked = read_model(CreateRun, body)
    source = asked.data_source.get("source")
    if asked.data_source.get("type") in _TYPES and isinstance(source, dict):
        asked = asked.model_copy(update={"data_source": {**asked.data_source, "source": _with_rows(source, read_file)}})
    plan = read_plan(asked.data_source)
    check_items(item_schema, plan.rows)
    return asked


def shown_source(data_source: Mapping[str, Any]) -> dict[str, Any]:
    """A run's `data_source` as it was asked for."""
    file_id = data_source["source"].get("file_id")
    return {**data_source, **({"source": {"type": "file_id", "id": file_id}} if file_id is not None else {})}


def read_plan(data_source: Mapping[str, Any]) -> RunPlan:
    """The plan of a run's `data_source`."""
    source = read_model(Source, data_source, at="data_source")
    where = "data_source.source"
    if source.type not in _TYPES:
        raise _unsupported("data_source.type", source.type, " or ".join(_TYPES))
    rows = tuple(read_model(FileContent, source.source, at=where).content)
    if source.type == "jsonl":
        for name in ("input_messages", "model", "sampling_params"):
            if getattr(source, name) is not None:
                raise Invalid(f"data_source.{name}: a jsonl run generates nothing", param=f"data_source.{name}")
        return RunPlan(rows=rows)
    for number, row in enumerate(rows):
        if row.sample is not None:
            param = f"{where}.content[{number}].sample"
            raise Invalid(f"{param}: a completions run generates the sample; use type jsonl", param=param)
    for name in ("model", "input_messages"):
        if getattr(source, name) is None:
            raise Invalid(f"data_source.{name}: missing", param=f"data_source.{name}")
    template, reference = _read_messages(source.input_messages or {})
    params = read_model(SamplingParams, source.sampling_params or {}, at="data_source.sampling_params")
    return RunPlan(
        rows=rows,
        model=source.model,
        template=template,
        reference=reference,
        options=params.model_dump(exclude_none=True),
    )


def check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse an `item_schema` that is no JSON Schema."""
    import jsonschema

    param = "data_source_config.item_schema"
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        message = getattr(error, "message", "nested too deeply")
        raise Invalid(f"{param} is no JSON Schema: {message}", param=param) from error


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


def _read_criterion(criterion: Mapping[str, Any], at: str, embed: Embed | None) -> None:
    kind = criterion.get("type")
    if kind not in ("string_check", "text_similarity"):
        raise _unsupported(f"{at}.type", kind, "string_check or text_similarity")
    read = read_model(StringCheck if kind == "string_check" else TextSimilarity, criterion, at=at)
    for name in ("input", "reference"):
        _check_template(getattr(read, name), f"{at}.{name}")
    if isinstance(read, TextSimilarity):
        known = similarities(has_embedder=embed is not None)
        if read.evaluation_metric not in known:
            raise _unsupported(f"{at}.evaluation_metric", read.evaluation_metric, ", ".join(known))
    try:
        read_grader(criterion, embed=embed)
    except EvalError as error:
        raise Invalid(f"{at}: {error}", param=at) from error


def _read_messages(given: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...] | None, str | None]:
    """The (role, text) pairs of a template, or the path of the messages in a row."""
    at = "data_source.input_messages"
    if given.get("type") == "item_reference":
        path = read_model(ItemMessages, given, at=at).item_reference
        _check_template(f"{{{{{path}}}}}", f"{at}.item_reference")
        return None, path
    messages = []
    for number, message in enumerate(read_model(TemplateMessages, given, at=at).template):
        where = f"{at}.template[{number}]"
        role, text = message.get("role"), _text(message.get("content"), f"{where}.content")
        if role not in _ROLES:
            raise _unsupported(f"{where}.role", role, ", ".join(_ROLES))
        if unknown := sorted(set(message) - {"role", "content", "type"}):
            raise Invalid(f"{where}.{unknown[0]}: not supported; leave it out", param=f"{where}.{unknown[0]}")
        _check_template(text, f"{where}.content", known="item")
        messages.append((str(role), text))
    if not any(role == "user" for role, _ in messages):
        raise Invalid(f"{at}.template holds no user message; add one with the question", param=f"{at}.template")
    return tuple(messages), None


def _text(content: object, where: str) -> str:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Invalid(f"{where} must be text; images and sound cannot be answered", param=where)
    return "\n".join(str(text) for text in texts)


def _check_template(template: str, where: str, *, known: str | None = None) -> None:
    try:
        for path in references(template):
            if known is not None and not path.startswith(f"{known}."):
                raise Invalid(f"{where}: {path} is not known before the answer; use {known}.NAME", param=where)
    except TemplateError as error:
        raise Invalid(f"{where}: {error}", param=where) from error


def _with_rows(source: Mapping[str, Any], read_file: Callable[[str], list[Any]] | None) -> Mapping[str, Any]:
    """The source, with the file's rows where it names a file."""
    at = "data_source.source"
    kind = source.get("type")
    if kind == "file_id" and read_file is not None:
        file_id = read_model(FileId, source, at=at).id
        return {"type": "file_content", "content": read_file(file_id), "file_id": file_id}
    if kind != "file_content":
        known = "file_content, with the rows in content" + (", or file_id" if read_file is not None else "")
        raise _unsupported(f"{at}.type", kind, known)
    if "file_id" in source:
        raise Invalid(f"{at}.file_id: not supported; leave it out", param=f"{at}.file_id")
    return source


def _unsupported(param: str, value: object, known: str) -> Refused:
    return Invalid(f"{param} {value!r} is not supported; use {known}", param=param, code="unsupported_value")
