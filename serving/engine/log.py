"""Picks the lines of a vLLM log that say why it ended: `telling_lines(text)`."""

from __future__ import annotations

import re

# "(EngineCore pid=12) ERROR 11-20 10:00:00 [core.py:1] text" -> level and text.
_PREFIX = re.compile(r"^(?:\([^)]*pid=\d+\) )?(?:(?P<level>DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[[^\]]*\] ?)?")
# A line without a level is kept for these words: an exception, argparse, the dynamic linker, the kernel's OOM killer.
_TELLING = re.compile(r"error|exception|killed|segmentation fault|aborted", re.IGNORECASE)
_FRAME = re.compile(r"^\s*(File \"|Traceback |\^|~|During handling|The above exception)")


def telling_lines(text: str, limit: int = 15) -> list[str]:
    """At most `limit` lines in order: the errors without their traceback frames, or simply the last lines."""
    kept: list[str] = []
    in_frame = False
    for line in text.splitlines():
        match = _PREFIX.match(line)
        level = match["level"] if match else None
        body = (line[match.end() :] if match else line).rstrip()
        is_source = in_frame and body.startswith("    ")
        in_frame = body.lstrip().startswith('File "')
        is_error = level == "ERROR" or (level is None and _TELLING.search(body))
        if body and is_error and not is_source and not _FRAME.match(body) and body not in kept:
            kept.append(body)
    return (kept or text.splitlines())[-limit:]
