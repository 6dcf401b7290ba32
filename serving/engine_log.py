"""Picks the lines of a vLLM log that say why it ended: `telling_lines(text)`."""

from __future__ import annotations

import re

# "(EngineCore pid=12) ERROR 11-20 10:00:00 [core.py:1] text" -> level and text.
_PREFIX = re.compile(r"^(?:\([^)]*pid=\d+\) )?(?:(?P<level>DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[[^\]]*\] ?)?")
_FRAME = re.compile(r"^\s*(File \"|Traceback |\^|~|During handling|The above exception|$)")


def telling_lines(text: str, limit: int = 15) -> list[str]:
    """At most `limit` lines, in order: errors and plain output without traceback frames, else simply the last lines."""
    kept: list[str] = []
    in_frame = False
    for line in text.splitlines():
        match = _PREFIX.match(line)
        level = match["level"] if match else None
        body = line[match.end() :] if match else line
        source_line = in_frame and body.startswith("    ")
        in_frame = body.lstrip().startswith('File "')
        if level in ("DEBUG", "INFO", "WARNING") or source_line or _FRAME.match(body):
            continue
        if body.rstrip() not in kept:
            kept.append(body.rstrip())
    return (kept or text.splitlines())[-limit:]
