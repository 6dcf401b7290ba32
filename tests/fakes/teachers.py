"""A teacher for tests: an OpenAI-compatible model on a socket of this machine that writes and answers questions about a
world of buildings, well or badly.

with teaching() as teacher:
    teacher.url, teacher.bodies
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.engines import completion
from fakes.json_server import serving_json

from rag.chunking.chunk import Chunk

_WORLD = (
    ("mill", "Thornby", "1801", "Ada Lovell"),
    ("bridge", "Wexcombe", "1822", "Ada Lovell"),
    ("tower", "Harrowgill", "1833", "Ada Lovell"),
    ("chapel", "Saltwick", "1844", "Tom Brandt"),
    ("school", "Orlestone", "1855", "Tom Brandt"),
    ("harbour", "Penmarsh", "1866", "Tom Brandt"),
    ("library", "Quernmore", "1877", "Ivy Castellan"),
    ("station", "Ravenglen", "1888", "Ivy Castellan"),
    ("theatre", "Underhill", "1899", "Ivy Castellan"),
    ("barn", "Zealbury", "1910", "Ivy Castellan"),
)
_TEXT = "The {0} at {1} was built in {2} by {3}, and it has stood beside the old river road since the great flood."
_BUILDING = re.compile(r"The (\w+) at (\w+) was built in (\d+) by (\w+ \w+), and")


def texts() -> dict[str, str]:
    """Documents by id, each with one passage."""
    return {f"{one[0]}-{one[1].lower()}": _TEXT.format(*one) for one in _WORLD}


def chunks() -> list[Chunk]:
    """The same as passages."""
    return [Chunk(f"c-{name}", name, "", text, 0) for name, text in texts().items()]


def write_documents(folder: Path) -> Path:
    """The same as text files."""
    folder.mkdir(parents=True)
    for name, text in texts().items():
        (folder / f"{name}.txt").write_text(text + "\n")
    return folder


@dataclass
class FakeTeacher:
    """`spoil(reply, is_draft)` changes what it says; `status(number)` gives an HTTP error in place of the answer to a
    request; each waits `delay_s`. `bodies` holds all of them.
    """

    url: str = ""
    spoil: Callable[[str, bool], str] = lambda reply, is_draft: reply
    status: Callable[[int], int] = lambda number: 200
    delay_s: float = 0.0
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def asked(self) -> list[str]:
        """What was asked, prompts and all."""
        return [json.dumps(body["messages"]) for body in self.bodies]

    def answer(self, _path: str, body: Mapping[str, Any] | None) -> tuple[int, object]:
        """Status and body of the response to one request."""
        if body is None:
            return 200, {"data": [{"id": "org/base"}]}
        with self._lock:
            self.bodies.append(body)
            status = self.status(len(self.bodies))
        if status != 200:
            return status, {"error": {"message": "scripted", "type": "scripted", "code": None, "param": None}}
        if self.delay_s:
            self.released.wait(self.delay_s)
        system, user = (str(body["messages"][place]["content"]) for place in (0, -1))
        is_draft = "JSON object" in system
        reply = _draft(system, user) if is_draft else _reply(user)
        return 200, completion(self.spoil(reply, is_draft)).model_dump(mode="json")


@contextmanager
def teaching(**script: Any) -> Iterator[FakeTeacher]:
    """A teacher with this script, stopped at the end."""
    teacher = FakeTeacher(**script)
    with serving_json(teacher.answer) as teacher.url:
        try:
            yield teacher
        finally:
            teacher.released.set()


def _draft(system: str, user: str) -> str:
    first, *more = _BUILDING.findall(user)
    thing, place, year, _ = first
    if more:
        question = f"When was the {more[0][0]} built by whoever built the {thing} at {place}?"
        answer = more[0][2]
    elif "yes or no" in system:
        answer = "yes" if 'Let the answer be "yes"' in system else "no"
        question = f"Was the {thing} at {place} built in the year {year if answer == 'yes' else '1066'}?"
    elif "does not" in system:
        question, answer = f"How tall is the {thing} at {place} today?", "unanswerable"
    else:
        question, answer = f"When was the {thing} at {place} built?", year
    return json.dumps({"question": question, "answer": answer})


def _reply(user: str) -> str:
    """From the passages alone; the last word of all buildings that are shown is what it knows."""
    shown, _, question = user.rpartition("Question: ")
    known = {(thing, place): (year, builder) for thing, place, year, builder in _BUILDING.findall(shown)}
    asked = re.search(r"the (\w+) at (\w+)", question)
    if asked is None or asked.groups() not in known or "tall" in question:
        return "unanswerable" if shown else "unknown"
    year, builder = known[asked.groups()]  # type: ignore[index]
    if other := re.search(r"the (\w+) built by whoever", question):
        found = [when for (thing, _), (when, who) in known.items() if thing == other[1] and who == builder]
        return found[0] if found else "unanswerable"
    if said := re.search(r"in the year (\d+)", question):
        return "Yes." if said[1] == year else "No."
    return f"It was built in {year}."
