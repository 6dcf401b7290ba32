"""The rows of a run that stand in an uploaded file: `read_file_rows(files, "file-1")`."""

from __future__ import annotations

import json
from typing import Any

from serving.errors import Invalid
from serving.http.body import MAX_BODY_BYTES, check_storable
from serving.vector_stores.files import FileStore

_PARAM = "data_source.source.id"


def read_file_rows(files: FileStore, file_id: str) -> list[Any]:
    """The decoded lines of a JSONL file with purpose `evals`, blank ones left out.

    Raises NotFound; Invalid for another purpose, a file over 8 MiB, and a line that is no JSON.
    """
    stored = files.get(file_id, param=_PARAM)
    if stored.purpose != "evals":
        raise Invalid(f"file {file_id!r} was uploaded with purpose {stored.purpose!r}, not evals", param=_PARAM)
    if stored.num_bytes > MAX_BODY_BYTES:
        raise Invalid(
            f"file {file_id!r} has {stored.num_bytes} bytes; a run takes {MAX_BODY_BYTES}, split it", param=_PARAM
        )
    rows = []
    with files.open(file_id) as content:
        for number, line in enumerate(content, start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise Invalid(f"line {number} of {file_id!r} is not valid JSON: {error}", param=_PARAM) from error
            check_storable(rows[-1], name=f"line {number} of {file_id!r}", param=_PARAM)
    return rows
