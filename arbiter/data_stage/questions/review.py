"""`arbiter data review FILE`: generated questions one by one, and the set of those that are accepted.

console.result(*review(Path("made/to_review.jsonl"), console=console, read=sys.stdin.readline))

Every ruling is written to the file at once, so that any stop is resumed; a person may as well edit the file.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from arbiter.console import Console, Output
from eval.generated import REVIEW
from eval.generation.proposals import (
    PARTS,
    Proposal,
    as_set,
    read_proposals,
    set_files,
    write_text,
)
from storage.files import replace_text
from storage.folders import write_files

_CHOICES = "[a]ccept, [e]dit, [r]eject, [s]kip, [q]uit: "
_BETWEEN = "|"


def review(
    path: Path,
    *,
    console: Console,
    read: Callable[[], str],
    accepts_all: bool = False,
    take_proposed: bool = False,
    now: Callable[[], str] = lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
) -> Output:
    """Go through what is still proposed, and write test.jsonl and train.jsonl beside the file.

    `read` gives a line of the person's, "" at the end of them. `accepts_all` accepts what is left without a look.
    Raises EvalError for faulty lines.
    """
    path = path / REVIEW if path.is_dir() else path
    rows = list(read_proposals(path))
    notes = []
    if accepts_all:
        unseen = sum(row.status == "proposed" for row in rows)
        rows = [row.judged("accepted", reviewed=False) if row.status == "proposed" else row for row in rows]
        replace_text(path, write_text(rows))
        notes.append(f"{unseen} questions were accepted without a look, and count as not reviewed")
    else:
        _Queue(rows, path, console, read, now).work()
    taken = as_set(rows, take_proposed=take_proposed, now=now())
    files = set_files(taken)
    if files:
        write_files(path.parent, files, is_forced=True)
    for part in PARTS:
        if f"{part}.jsonl" not in files:
            (path.parent / f"{part}.jsonl").unlink(missing_ok=True)
    counts = Counter(row.status for row in rows)
    if take_proposed and counts["proposed"]:
        notes.append(f"{counts['proposed']} questions are used that nobody has reviewed (generate.take_proposed)")
    elif counts["proposed"]:
        notes.append(f"{counts['proposed']} are left to review, and not used until then; the same command goes on")
    said = ", ".join(f"{counts[status]} {status}" for status in ("accepted", "rejected", "proposed"))
    text = [
        f"{path}: {said}",
        *(f"{path.parent / f'{part}.jsonl'}: {len(found)} questions" for part, found in taken.items() if found),
        *(f"note: {note}" for note in notes),
    ]
    shown: dict[str, object] = {
        "file": str(path),
        **{status: counts[status] for status in ("accepted", "rejected", "proposed")},
        **{part: len(found) for part, found in taken.items()},
        "files": [str(path.parent / name) for name in files],
        "notes": notes,
    }
    return "\n".join(text), shown


class _Queue:
    """What is still proposed, in the order of the file; `rows` and the file follow every ruling."""

    def __init__(
        self, rows: list[Proposal], path: Path, console: Console, read: Callable[[], str], now: Callable[[], str]
    ) -> None:
        self._rows, self._path, self._console, self._read, self._now = rows, path, console, read, now

    def work(self) -> None:
        """Ask until nothing is left, the person quits, or there are no more lines."""
        waiting = [place for place, row in enumerate(self._rows) if row.status == "proposed"]
        for number, place in enumerate(waiting, start=1):
            self._show(self._rows[place], f"{number} of {len(waiting)}")
            if not self._rule(place):
                return

    def _show(self, row: Proposal, where: str) -> None:
        use = "to evaluate on" if row.part == "test" else "to train on"
        self._console.say(f"\n{where}: {row.kind}, {use}, from {', '.join(row.document_ids)}")
        for passage in row.passages:
            self._console.say(f"  passage: {' '.join(passage.text.split())}")
        self._console.say(f"  question: {row.question}\n  answer: {f' {_BETWEEN} '.join(row.answers)}")

    def _rule(self, place: int) -> bool:
        """One ruling; False to end."""
        row = self._rows[place]
        while True:
            self._console.say(_CHOICES)
            line = self._read()
            match line.strip().lower()[:1]:
                case "a":
                    self._keep(place, row.judged("accepted", reviewed=self._now()))
                    return True
                case "r":
                    self._keep(place, row.judged("rejected", reviewed=self._now()))
                    return True
                case "e":
                    edited = self._edited(row)
                    if edited is None:
                        return False
                    self._keep(place, edited.judged("accepted", reviewed=self._now()))
                    return True
                case "s":
                    return True
                case "q":
                    return False
                case _ if not line:
                    return False

    def _edited(self, row: Proposal) -> Proposal | None:
        """With what the person writes in place of question and answers; an empty line keeps them. None at the end."""
        self._console.say("question (Enter keeps it): ")
        question = self._read()
        self._console.say(f"answer, several with {_BETWEEN} between them (Enter keeps it): ")
        answers = self._read()
        if not question or not answers:
            return None
        golds = tuple(filter(None, (one.strip() for one in answers.split(_BETWEEN))))
        return replace(row, question=question.strip() or row.question, answers=golds or row.answers)

    def _keep(self, place: int, row: Proposal) -> None:
        self._rows[place] = row
        replace_text(self._path, write_text(self._rows))
