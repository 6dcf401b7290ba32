"""Drafts into questions: each is written by the teacher, judged by its words, and checked by asking the teacher back.

made = await make_questions(plans, wanted, teacher, threshold=0.7, tries=3, origin=origin, every_chunk=chunks)
made.proposals, made.dropped, made.stopped
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from eval.generation.drafts import NO_ANSWER, fault_of, gives, read_draft, truth_of
from eval.generation.nearest import NearestPassages
from eval.generation.plan import Part, Task
from eval.generation.prompts import DRAFT_SHAPE, FORMS, PROMPT_VERSION, ask_answer, ask_draft, form_of
from eval.generation.proposals import GoldPassage, Origin, Proposal
from eval.generation.settings import Kind
from eval.generation.teacher import BudgetSpent, NoReply, Teacher, TeacherAway
from eval.questions import Question, plain_text
from eval.repeats import find_repeats
from eval.tasks import run_all
from rag.chunking.chunk import Chunk
from storage.hashes import content_hash

# Requests that one draft takes if it is kept: to write it, and to check it.
REQUESTS: Mapping[Kind, int] = {"fact": 3, "format": 3, "yes-no": 3, "multi-hop": 5, "unanswerable": 2}
# Other passages that might answer a question of which its own passage says nothing.
_OTHERS = 3


@dataclass(frozen=True, slots=True)
class Dropped:
    """A draft that is no question, and why; `question` and `answer` are empty where the reply was none."""

    reason: str
    kind: Kind
    part: Part
    documents: tuple[str, ...]
    question: str = ""
    answer: str = ""


@dataclass(slots=True)
class Made:
    """What came of it. `stopped` says why there is less than was wanted, where the teacher or the budget ended it."""

    proposals: list[Proposal] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    num_drafts: int = 0
    stopped: TeacherAway | BudgetSpent | None = None

    @property
    def reasons(self) -> dict[str, int]:
        """How many drafts were dropped for what, the most frequent first."""
        return dict(Counter(one.reason for one in self.dropped).most_common())

    def of(self, part: Part) -> list[Proposal]:
        """The questions of a part."""
        return [row for row in self.proposals if row.part == part]


@dataclass
class Maker:
    """The way from a task to a question; so many drafts are worked on at once, each to its end, so that a budget which
    is spent leaves few of them unfinished. `earlier` are questions that are there already: none is made twice, and no
    document of theirs changes sides.
    """

    teacher: Teacher
    origin: Origin
    every_chunk: Sequence[Chunk]
    threshold: float = 0.7
    concurrency: int = 4
    earlier: Sequence[Proposal] = ()
    progress: Callable[[Made], None] = lambda _: None

    async def make(self, plans: Mapping[Part, Iterator[Task]], wanted: Mapping[Part, int], tries: int) -> Made:
        """As many questions of each part as are wanted, unless its tasks, its tries, the budget or the teacher end."""
        made, slots = Made(), asyncio.Semaphore(self.concurrency)
        for part, tasks in plans.items():
            drafts = itertools.islice(tasks, wanted[part] * tries)
            while made.stopped is None and (missing := wanted[part] - len(made.of(part))):
                batch = list(itertools.islice(drafts, missing))
                if not batch:
                    # Other drafts might have been kept, had it answered.
                    made.stopped = self.teacher.silence
                    break
                found = await run_all(self._one(task, made, slots) for task in batch)
                self._take([one for one in found if one is not None], made)
        return made

    async def _one(self, task: Task, made: Made, slots: asyncio.Semaphore) -> Proposal | Dropped | None:
        """One question, or why there is none; None where the work was stopped on the way."""
        try:
            async with slots:
                found = await self._check(task)
        except NoReply as error:
            found = Dropped(str(error), task.kind, task.part, task.document_ids)
        except (TeacherAway, BudgetSpent) as error:
            made.stopped = made.stopped or error
            return None
        made.num_drafts += 1
        self.progress(made)
        return found

    async def _check(self, task: Task) -> Proposal | Dropped:
        draft = read_draft(await self.teacher.ask(ask_draft(task), DRAFT_SHAPE))
        if draft is None:
            return Dropped("the reply is no question with an answer", task.kind, task.part, task.document_ids)
        question, answer = draft
        if task.kind == "unanswerable":
            answer = NO_ANSWER
        elif task.kind == "yes-no":
            answer = truth_of(answer) or answer
        reason = fault_of(task, question, answer) or await self._doubt(task, question, answer)
        if reason is not None:
            return Dropped(reason, task.kind, task.part, task.document_ids, question, answer)
        return self._proposal(task, question, answer)

    async def _doubt(self, task: Task, question: str, answer: str) -> str | None:
        """Why the teacher's own answers speak against a draft."""

        async def is_given(chunks: Sequence[Chunk]) -> bool:
            reply = await self.teacher.ask(ask_answer(question, chunks))
            return gives(reply, task.kind, answer, threshold=self.threshold)

        if task.kind == "unanswerable":
            others = self._nearest.of(question, _OTHERS, without=[chunk.id for chunk in task.chunks])
            return None if await is_given((*task.chunks, *others)) else "the teacher finds an answer in the passages"
        if not await is_given(task.chunks):
            return "the teacher does not give the answer with the passage"
        if await is_given(()):
            return "the teacher gives the answer without the passage"
        if len(task.chunks) > 1:
            for chunk in task.chunks:
                if await is_given((chunk,)):
                    return "one of its two passages is enough"
        return None

    @cached_property
    def _nearest(self) -> NearestPassages:
        return NearestPassages(self.every_chunk)

    def _proposal(self, task: Task, question: str, answer: str) -> Proposal:
        if task.kind == "format":
            told, put = FORMS[form_of(task)]
            question, answer = f"{question} {told}", put(answer)
        passages = tuple(GoldPassage(chunk.id, chunk.document_id, chunk.text) for chunk in task.chunks)
        name = content_hash(question, answer, *(passage.id for passage in passages))[:12]
        return Proposal(
            id=f"generated-{task.kind}-{name}",
            status="proposed",
            question=question,
            answers=(answer,),
            kind=task.kind,
            part=task.part,
            passages=passages,
            origin=self.origin,
        )

    def _take(self, found: Sequence[Proposal | Dropped], made: Made) -> None:
        """Keep what repeats nothing, in the order of the tasks."""
        made.dropped += [one for one in found if isinstance(one, Dropped)]
        fresh = [one for one in found if isinstance(one, Proposal)]
        ids, sides = (
            {row.id for row in self.earlier},
            {name: row.part for row in self.earlier for name in row.document_ids},
        )
        known = [*self.earlier, *(row for row in made.proposals if row.id not in ids)]
        new = [row for row in fresh if row.id not in ids]
        rows = [*known, *new]
        repeated = {repeat.place - len(known) for repeat in find_repeats([_asked(row) for row in rows])}
        asked = {plain_text(row.question) for row in known}
        for row in fresh:
            reason = None
            if row.id not in ids:
                text = plain_text(row.question)
                if text in asked or new.index(row) in repeated:
                    reason = "asks what another question asks"
                elif any(sides.get(name, row.part) != row.part for name in row.document_ids):
                    reason = "its document is on the other side of the questions that are there"
                asked.add(text)
            if reason is None:
                made.proposals.append(row)
            else:
                documents = row.document_ids
                made.dropped.append(Dropped(reason, row.kind, row.part, documents, row.question, row.answers[0]))


def least_requests(kinds: Sequence[Kind], num_questions: int) -> int:
    """How many requests so many questions take if every draft is kept, in equal parts of each kind."""
    return round(num_questions * sum(REQUESTS[kind] for kind in kinds) / len(kinds))


def origin_of(teacher: str) -> Origin:
    """Who writes, with the words of now."""
    return Origin(teacher, PROMPT_VERSION)


def _asked(row: Proposal) -> Question:
    return Question(row.id, row.question, row.answers)
