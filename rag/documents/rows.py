"""Files of rows: `read_rows("csv", text, "faq.csv")` gives a document a row, None where the rows are no documents."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from rag.documents.clean import clean
from rag.documents.document import FILE, Document, content_hash
from rag.documents.markdown import table
from rag.errors import RagError

_ROW = (("id", str, True), ("title", str, False), ("text", str, True), ("metadata", dict, False))
_SHAPE = "{id, title?, text, metadata?}"
_TEXT_COLUMNS = ("text", "content")
# Excel's own word for the delimiter.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_HEAD_CHARS = 20_000
_NEVER_IN_TEXT = "\x1f"

# Where a row stands (`path:number`), and its document or what is wrong with it.
Row = tuple[str, Document | RagError]


def read_rows(kind: str, text: str, path: str) -> Iterator[Row] | None:
    """The documents of a jsonl, json or csv file; None if it is JSON or CSV of another kind.

    jsonl: an object a line, `{id, title?, text, metadata?}`. json: a list of such objects, which need no `id`. csv: a
    column is called `text` or `content`; `id` and `title` are columns too or absent, all others are metadata, as text.
    A row without an id is called by its place, `path:number`, where rows count from 1; `load_documents` calls a csv
    row so too if another document has its id.
    Raises RagError with the reason if the file as a whole is malformed.
    """
    if kind == "jsonl":
        lines = enumerate(text.split("\n"), start=1)
        return (_read(f"{path}:{number}", line) for number, line in lines if line.strip())
    source = "" if kind == "json" else path
    rows: Sequence[dict[str, Any] | RagError] | None = _json_rows(text) if kind == "json" else _csv_rows(text)
    if rows is None:
        return None
    return (_read(f"{path}:{number}", row, source) for number, row in enumerate(rows, start=1) if row)


def whole_text(kind: str, text: str) -> str:
    """A file as one text: JSON's values on lines of their own, CSV as a Markdown table, JSONL as it stands.

    Raises RagError with the reason if it is malformed.
    """
    if kind == "jsonl":
        return text
    return table(_parse_csv(text)) if kind == "csv" else json.dumps(_parse_json(text), indent=1, ensure_ascii=False)


def _read(place: str, row: str | dict[str, Any] | RagError, source: str = "") -> Row:
    if isinstance(row, RagError):
        return place, row
    try:
        value = _parse_json(row) if isinstance(row, str) else {"id": place, **row}
        if not isinstance(value, dict):
            raise RagError(f"{str(row).strip()[:40]!r} is not an object; a row is {_SHAPE}")
        return place, _document(value, place.rpartition(":")[0], source)
    except RagError as error:
        return place, error


def _document(row: dict[str, Any], path: str, source: str) -> Document:
    if type(row.get("id")) is int:
        row = {**row, "id": str(row["id"])}
    for key, kind, is_needed in _ROW:
        if is_needed and key not in row:
            raise RagError(f"no {key!r}; a row is {_SHAPE}")
        if row.get(key) is None and not is_needed:
            continue
        if not isinstance(row[key], kind):
            expected = "a string" if kind is str else "an object"
            raise RagError(f"{key!r} must be {expected}, not {row[key]!r:.40}")
    if not row["id"].strip():
        raise RagError("'id' is empty; give every document a name of its own")
    # A NUL is cleaned away from what is read; in an id or a value it is a fault.
    title, text = ((row.get(key) or "").replace("\0", "") for key in ("title", "text"))
    metadata = row.get("metadata") or {}
    metadata = {"source": source, **metadata} if source else {**metadata, FILE: path}
    document = Document(row["id"], title, text, metadata, source)
    content_hash(document)
    return replace(document, title=clean(document.title), text=clean(document.text))


def _json_rows(text: str) -> list[dict[str, Any]] | None:
    value = _parse_json(text)
    is_rows = isinstance(value, list) and all(
        isinstance(row, dict) and isinstance(row.get("text"), str) for row in value
    )
    return value if is_rows and value else None


def _csv_rows(text: str) -> list[dict[str, Any] | RagError] | None:
    """Rows in the words of JSONL; an empty row is {}, one with more values than columns a fault."""
    header, *rows = _parse_csv(text) or [[]]
    names = [name.strip().lower() for name in header]
    column = next((name for name in _TEXT_COLUMNS if name in names), None)
    if column is None or not rows:
        return None
    found: list[dict[str, Any] | RagError] = []
    for row in rows:
        if any(row[len(names) :]):
            reason = f"{len(row)} values for {len(names)} columns; put a text that holds the delimiter in quotes"
            found.append(RagError(reason))
            continue
        # A short row has no value in the last columns.
        values = dict(zip(names, row, strict=False))
        known = {key: values[key] for key in ("id", "title") if values.get(key, "").strip()}
        others = zip(header, names, row, strict=False)
        metadata = {shown.strip(): value for shown, name, value in others if name not in ("id", "title", column)}
        content = {**known, "text": values.get(column, ""), "metadata": metadata}
        found.append(content if any(row) else {})
    return found


def _parse_json(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError as error:
        if str(error).startswith("trailing characters"):
            raise RagError("more than one JSON value; put each on a line of its own, in a .jsonl file") from error
        if "hex escape" in str(error):
            # Half a surrogate pair spoils the row that holds it and no other.
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(text)
        where = str(error) if "\n" in text.strip() else str(error).replace("line 1 ", "")
        raise RagError(f"malformed JSON ({where}); correct it") from error


def _parse_csv(text: str) -> list[list[str]]:
    """All rows. Raises RagError with the line that is malformed."""
    named = _SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    delimiter = named[1] if named else _delimiter(text[:_HEAD_CHARS])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    # The module refuses longer fields; here the file's own limits hold.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        return list(rows)
    except csv.Error as error:
        raise RagError(f"malformed CSV (line {rows.line_num}: {error}); correct it") from error


def _delimiter(head: str) -> str:
    """The one most frequent in the first line that has any, since a title may stand above it.

    Below the name of a text column alone there is none: what looks like one belongs to the texts.
    """
    # What is quoted may run over line ends.
    lines = _QUOTED.sub("", head).splitlines()
    if next(filter(None, map(str.strip, head.splitlines())), "").strip('"').lower() in _TEXT_COLUMNS:
        return _NEVER_IN_TEXT
    counts = (Counter(re.findall(r"[,;\t|]", line)) for line in lines)
    return next((count.most_common(1)[0][0] for count in counts if count), ",")
