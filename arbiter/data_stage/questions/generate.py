"""`arbiter data generate`: a data folder with questions to look through, made from documents.

made = Generation(material=material, target=Path("made"), config=config, home=home, console=console, command=line)
console.result(*made.run())
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from arbiter.config.schema import Config
from arbiter.console import Console, Output
from arbiter.data_stage.questions.material import Material
from arbiter.data_stage.questions.teaching import OpenTeacher, open_teacher, teacher_warning
from arbiter.data_stage.source import PROVENANCE, REMOVED
from eval.generated import REVIEW
from eval.generation.making import Made, Maker, least_requests, origin_of
from eval.generation.plan import Part, Task, divide, plan, without_tasks
from eval.generation.proposals import PARTS, Proposal, as_set, read_proposals, set_files, write_text
from eval.generation.settings import GenerateSettings
from eval.generation.teacher import Budget, BudgetSpent, ReplyCache, Teacher, TeacherAway
from eval.tasks import run_anywhere
from rag.chunking.chunk import Chunk
from router.answering.engine import HttpEngine
from storage.errors import ArbiterError, listed
from storage.folders import sweep_drafts, write_files
from storage.records import as_json, json_lines
from tuning.data.layouts import find_part

# What a draft and an answer take beside their passages, in tokens: the prompt's own words, and the reply.
_PROMPT_TOKENS, _REPLY_TOKENS = 130, 40


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What is made of which documents, where it goes, and by which command. Without `copies` the documents are not
    copied into the folder.
    """

    material: Material
    target: Path
    config: Config
    home: Path
    console: Console
    command: str
    copies: bool = True

    def run(self) -> Output:
        """Make the questions and write the folder, or go on with one that was made before: what was asked in an earlier
        start is not asked again.

        Raises ArbiterError where nothing can be made, and where the teacher cannot be asked any more: what is made by
        then is written.
        """
        settings, earlier = self.config.generate, self._earlier()
        wanted: dict[Part, int] = {"test": settings.questions, "train": settings.examples}
        plans = _plans(self.material, wanted, self.config)
        notes = list(without_tasks(settings.kinds, [task for tasks in plans.values() for task in tasks]))
        for note in (teacher_warning(self.config), *notes, *_forecast(plans, wanted, settings)):
            if note is not None:
                self.console.say(f"note: {note}")
        budget = Budget(settings.max_requests, settings.max_tokens)
        with (
            open_teacher(self.config, home=self.home, console=self.console) as told,
            ReplyCache(self.home / "teacher.db") as cache,
        ):
            made = self._ask(told, cache, budget, plans, wanted, earlier)
        rows = [*earlier, *(row for row in made.proposals if row.id not in {one.id for one in earlier})]
        if isinstance(made.stopped, BudgetSpent):
            notes.append(f"{made.stopped}: raise it and run the same command again, which goes on")
        away = made.stopped if isinstance(made.stopped, TeacherAway) else None
        if rows:
            written = self._write(rows, made, [*notes, *_short(made, wanted)], told.label, budget)
            if away is None:
                return written
        raise _no_result(made, away, told.label, len(rows), self.target)

    def _earlier(self) -> tuple[Proposal, ...]:
        """The questions of an earlier start. Raises ArbiterError for a folder that is not its own to write to."""
        source, target = self.material.where, self.target.expanduser().resolve()
        if self.copies and source is not None and source.is_dir() and (target == source or source in target.parents):
            raise ArbiterError(
                f"{str(target)!r} is or lies in the documents {str(source)!r}; give a folder beside them"
            )
        if (target / REVIEW).is_file():
            return read_proposals(target / REVIEW)
        found = (find_part(target, part) for part in PARTS if target.is_dir())
        there = next((path for path in found if path is not None), None)
        if there is not None:
            raise ArbiterError(f"{str(there)!r} is there already, and no {REVIEW} beside it; give another folder")
        return ()

    def _ask(
        self,
        told: OpenTeacher,
        cache: ReplyCache,
        budget: Budget,
        plans: Mapping[Part, Sequence[Task]],
        wanted: Mapping[Part, int],
        earlier: Sequence[Proposal],
    ) -> Made:
        settings, total = self.config.generate, sum(wanted.values())
        with self.console.step(f"{told.label} writes {total} questions") as step:

            def show(made: Made) -> None:
                note = f"{made.num_drafts} drafts, {budget.num_sent} requests"
                step.update(len(made.proposals), total, note)

            async def work() -> Made:
                http = HttpEngine(told.url, api_key=told.api_key, timeout_s=told.timeout_s, hold=told.hold)
                maker = Maker(
                    teacher=Teacher(http, told.model, told.identity, cache, budget, retries=told.retries),
                    origin=origin_of(told.label),
                    every_chunk=self.material.chunks,
                    threshold=settings.threshold,
                    concurrency=told.concurrency,
                    earlier=earlier,
                    progress=show,
                )
                try:
                    drafts = {part: iter(tasks) for part, tasks in plans.items()}
                    return await maker.make(drafts, wanted, settings.tries)
                finally:
                    await http.close()

            return run_anywhere(work)

    def _write(self, rows: Sequence[Proposal], made: Made, notes: list[str], label: str, budget: Budget) -> Output:
        """The folder with its files, all at once where it is new, and what is said of it."""
        settings, target = self.config.generate, self.target.expanduser().absolute()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        taken = as_set(rows, take_proposed=settings.take_proposed, now=now)
        statuses = Counter(row.status for row in rows)
        if settings.take_proposed and statuses["proposed"]:
            notes.append(f"{statuses['proposed']} questions are used that nobody has reviewed (generate.take_proposed)")
        notes += _metrics(settings, self.config)
        provenance = {
            "command": self.command,
            "settings": as_json(asdict(settings)),
            "seed": self.config.seed,
            "teacher": label,
            "source": str(self.material.where) if self.material.where is not None else None,
            "documents": self.material.num_documents,
            "passages": len(self.material.chunks),
            "drafts": made.num_drafts,
            "questions": {part: sum(row.part == part for row in rows) for part in PARTS},
            "kinds": dict(Counter(row.kind for row in rows)),
            "status": dict(statuses),
            "removed": made.reasons,
            "requests": {"sent": budget.num_sent, "in_all": budget.num_requests},
            "tokens": budget.num_tokens,
            "stopped": str(made.stopped) if made.stopped is not None else None,
            "notes": notes,
            "arbiter": importlib.metadata.version("arbiter"),
            "created_at": now,
        }
        files = {
            **self.material.texts,
            REVIEW: write_text(rows),
            REMOVED: json_lines(map(as_json, made.dropped)),
            PROVENANCE: json.dumps(provenance, ensure_ascii=False, indent=1) + "\n",
            **set_files(taken),
        }
        # Where they are there, as in a folder that is gone on with or that the documents lie in, they stay.
        missing = {name: path for name, path in self.material.copies.items() if not (target / name).exists()}
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_drafts(target.parent)
        write_files(target, files, copies=missing if self.copies else {}, is_forced=True)
        review = f"arbiter data review {shlex.quote(str(target / REVIEW))}"
        shown = ", ".join(f"{count} {status}" for status, count in statuses.items())
        text = [
            str(target),
            f"{REVIEW}: {_counts(rows)} ({shown})",
            *(f"{part}.jsonl: {len(found)} questions" for part, found in taken.items() if found),
            f"{REMOVED}: {len(made.dropped)} of {made.num_drafts} drafts",
            *(f"  {count} {reason}" for reason, count in made.reasons.items()),
            f"teacher: {label}, {budget.num_sent} requests ({budget.num_requests} with those of earlier starts), "
            f"{budget.num_tokens:,} tokens",
            *(f"note: {note}" for note in notes),
            f"look through them: {review}",
        ]
        return "\n".join(text), {"folder": str(target), "file": str(target / REVIEW), "review": review, **provenance}


def _plans(material: Material, wanted: Mapping[Part, int], config: Config) -> dict[Part, list[Task]]:
    test, train = divide(material.chunks, questions=wanted["test"], examples=wanted["train"], seed=config.seed)
    sides: dict[Part, tuple[Chunk, ...]] = {"test": test, "train": train}
    kinds = tuple(dict.fromkeys(config.generate.kinds))
    return {part: list(plan(side, kinds, part=part, seed=config.seed)) for part, side in sides.items() if side}


def _forecast(
    plans: Mapping[Part, Sequence[Task]], wanted: Mapping[Part, int], settings: GenerateSettings
) -> list[str]:
    """What it will take, before anything is asked."""
    drafts = {part: min(wanted[part] * settings.tries, len(tasks)) for part, tasks in plans.items()}
    least = least_requests(settings.kinds, sum(min(wanted[part], len(tasks)) for part, tasks in plans.items()))
    most = max(least, least_requests(settings.kinds, sum(drafts.values())))
    texts = [chunk.text for tasks in plans.values() for task in tasks[:200] for chunk in task.chunks]
    each = _PROMPT_TOKENS + _REPLY_TOKENS + (sum(map(len, texts)) // 4) // max(len(texts), 1)
    said = (
        f"forecast: {least:,} requests if every draft is kept and {most:,} at most, of about {each:,} tokens each: "
        f"{least * each:,} to {most * each:,} tokens; what is known from an earlier start is not asked again"
    )
    notes = [said]
    if settings.max_requests is not None and settings.max_requests < least:
        notes.append(f"generate.max_requests is {settings.max_requests:,}, which is not enough for all questions")
    if settings.max_tokens is not None and settings.max_tokens < least * each:
        notes.append(f"generate.max_tokens is {settings.max_tokens:,}, which may not be enough for all questions")
    few = [f"{len(tasks)} drafts of {part} questions" for part, tasks in plans.items() if len(tasks) < wanted[part]]
    if few:
        notes.append(f"the documents have passages for no more than {listed(few, separator=', ')}")
    return notes


def _short(made: Made, wanted: Mapping[Part, int]) -> list[str]:
    """A note where there are fewer questions than were wanted."""
    if made.stopped is not None:
        return []
    missing = [
        f"{len(made.of(part))} of {number} {part}" for part, number in wanted.items() if len(made.of(part)) < number
    ]
    if not missing:
        return []
    return [
        f"made {' and '.join(missing)} questions out of {made.num_drafts} drafts: more documents, another teacher or a "
        "higher generate.tries give more"
    ]


def _counts(rows: Sequence[Proposal]) -> str:
    counts = Counter(row.part for row in rows)
    return f"{counts['test']} questions to evaluate on, {counts['train']} to train on"


def _metrics(settings: GenerateSettings, config: Config) -> list[str]:
    """How kinds of questions are best scored, where the policy has one metric for all."""
    own = {"unanswerable": "abstention", "format": "exact_match"}
    missing = [f"policy.metric.{kind}={own[kind]}" for kind in settings.kinds if kind in own]
    if not missing or not isinstance(config.policy.metric, str):
        return []
    shown = " ".join([f"policy.metric.default={config.policy.metric}", *missing])
    return [f"some kinds have metrics that fit them better: {shown}"]


def _no_result(made: Made, away: TeacherAway | None, label: str, num_rows: int, target: Path) -> ArbiterError:
    """Why the command ends without its questions."""
    if away is not None:
        kept = f"{num_rows} questions in {str(target)!r} and its answers" if num_rows else "its answers so far"
        return ArbiterError(
            f"the teacher {label} cannot be asked any more: {away}; {kept} are kept, and the same command goes on from "
            "there"
        )
    if made.stopped is not None:
        return ArbiterError(f"no question was made: {made.stopped}; raise it and run the same command again")
    reasons = listed((f"{count} {reason}" for reason, count in made.reasons.items()), separator=", ", shown=4)
    return ArbiterError(
        f"none of {made.num_drafts} drafts of {label} is a question ({reasons}); name a better teacher with "
        "generate.teacher.url and generate.teacher.model"
    )
