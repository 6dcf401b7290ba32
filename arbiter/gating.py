"""The gates of a finished run: measured with its engine, kept beside it, and shown on its card and its adapter's.

results = measure_gates(pipeline, run, arm="tuned")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from arbiter.asking import Asker
from arbiter.build import index_home
from arbiter.console import Console
from arbiter.deciding import gate_rows
from arbiter.finished_runs import RUN_AGAIN
from arbiter.model_cards import write_model_cards
from arbiter.pipeline import Pipeline
from eval.answers import AnswerRecord
from eval.gates.gate import Material, own_questions
from eval.gates.measure import measure, without_adapter
from eval.gates.registry import GATES
from eval.gates.results import GateResult, judge_arm, keep_measured
from eval.gates.settings import GateSettings
from eval.questions import Question, load_questions
from eval.report.page import to_html
from eval.report.tables import to_markdown
from eval.runs.run import Run
from rag.home import OpenIndexes
from rag.index import Index
from router.answering.arm import Arm
from router.answering.topics import choosers
from serving.decisions.ledger import keep_report
from storage.errors import ArbiterError
from tuning.data.layouts import find_part
from tuning.export.adapters import load_adapter


def measure_gates(pipeline: Pipeline, run: Run, *, arm: str | None = None) -> list[GateResult]:
    """Every gate of the policy, asked of an arm of the run (the one that was decided for by default); each is kept as
    soon as it is there, and an answer that is known is not asked again.

    Raises ArbiterError for an arm that the run does not have, and for a run that no longer holds.
    """
    settings, alpha, console = pipeline.config.policy.gates, pipeline.config.policy.alpha, pipeline.console
    chosen = arm_of(run, arm)
    material = _material(pipeline, run, settings)
    with ExitStack() as during:
        asking = _Asking(during.enter_context(closing(_asker(pipeline, run, chosen, during))))
        for name, gate in GATES.items():
            if settings.limit(name) is not None:
                console.say(f"gate {name} of {chosen.name}")
                keep_measured(run.directory, [measure(gate, chosen, material, asking)])
    show_gates(run, settings, alpha=alpha, home=pipeline.home)
    return judge_arm(run.directory, chosen.name, settings, alpha=alpha)


def arm_of(run: Run, name: str | None) -> Arm:
    """The arm of this name, or the one that was decided for. Raises ArbiterError."""
    arms = {scores.arm.name: scores.arm for scores in run.scorecard().arms}
    wanted = name if name is not None else str(run.decision()["arm"])
    if wanted not in arms:
        raise ArbiterError(f"run {run.id!r} has no arm {wanted!r}; it has {', '.join(arms)}")
    return arms[wanted]


def show_gates(run: Run, settings: GateSettings, *, alpha: float, home: Path) -> None:
    """Put what was measured on the decision's card and pages, and on the model cards of the adapters."""
    if (run.directory / "card.json").is_file():
        card = {**run.card(), "gates": gate_rows(run, settings, alpha=alpha)}
        run.write_card(card, to_html(card), to_markdown(card))
        keep_report(run)
    write_model_cards(run, settings, alpha=alpha, home=home)


@dataclass(frozen=True)
class _Asking:
    """The run's asker, as gates ask."""

    asker: Asker

    def answers(self, arm: Arm, questions: Sequence[Question]) -> Sequence[AnswerRecord]:
        """As `eval.gates.measure.Ask`."""
        return self.asker.ask_all([arm], tuple(questions)).records

    def likelihoods(self, arm: Arm, texts: Sequence[tuple[Question, str]]) -> Sequence[float | None]:
        """The same."""
        return self.asker.weigh(arm, texts)


def _asker(pipeline: Pipeline, run: Run, arm: Arm, during: ExitStack) -> Asker:
    """Asks the arm with and without its adapter, as the run did. Raises ArbiterError where something has changed."""
    config, home = pipeline.config, pipeline.home
    versions: Mapping[str, Mapping[str, str]] = run.manifest.get("versions", {})
    base = pipeline.base
    if base.revision != run.manifest["base_revision"]:
        raise ArbiterError(
            f"run {run.id!r} was measured on {run.manifest['base_revision']!r}, and the model is {base.label!r}; "
            f"{RUN_AGAIN}"
        )
    adapters = {name: load_adapter(home / "adapters" / name) for name in arm.adapters}
    indexes: dict[str, Index] = {}
    if arm.indexes:
        opened = during.enter_context(closing(OpenIndexes(index_home(config, home), pipeline.embedder)))
        for one in arm.members:
            if one.index is None:
                continue
            indexes[one.index] = index = opened.open(one.index)
            if index.state.version != versions.get(one.name, {}).get("index"):
                raise ArbiterError(f"index {one.index!r} has changed since run {run.id!r}; {RUN_AGAIN}")
    return Asker(
        # Nobody looks at the time to the first token of a gate's question.
        config=config.model_copy(update={"eval": replace(config.eval, first_token_probes=0)}),
        base=base,
        home=home,
        console=pipeline.console,
        adapters=adapters,
        indexes=indexes,
        versions={
            name: versions.get(one.name, {}) for one in arm.members for name in (one.name, without_adapter(one).name)
        },
        topics=choosers(adapters.values(), pipeline.embedder) if adapters else {},
    )


def _material(pipeline: Pipeline, run: Run, settings: GateSettings) -> Material:
    """What the gates draw from: the run's questions and passages, the data folder as it is now, and the own sets."""
    folder, console = pipeline.config.data, pipeline.console
    examples: tuple[Question, ...] = ()
    published = ""
    try:
        data = pipeline.data
    except ArbiterError as error:
        console.say(f"note: the training rows cannot be read any more ({error})")
    else:
        examples, published = data.examples, "\n".join(document.text for document in data.documents)
        if data.version != run.manifest["data_version"]:
            console.say("note: the data has changed since the run; the training rows are those of now")
    guard = folder / settings.guard if settings.guard is not None else None
    if guard is None and folder.is_dir():
        guard = find_part(folder, "guard")
    return Material(
        questions=run.questions(),
        passages=_passages(run),
        examples=examples,
        is_published=lambda text: text in published,
        guard=_questions(guard, console) if guard is not None else own_questions("general"),
        refuse=_questions(folder / settings.refuse, console) if settings.refuse is not None else (),
        requests=own_questions("requests"),
        most=settings.most,
        seed=pipeline.config.seed,
    )


def _questions(path: Path, console: Console) -> tuple[Question, ...]:
    return load_questions(path, say=lambda note: console.say(f"note: {note}"))


def _passages(run: Run) -> dict[str, tuple[str, ...]]:
    """What the arms that read documents were shown, by question."""
    readers = {scores.arm.name for scores in run.scorecard().arms if scores.arm.reads_documents}
    shown: dict[str, dict[str, None]] = {}
    for record in run.records():
        if record.arm in readers:
            shown.setdefault(record.question_id, {}).update(dict.fromkeys(record.passages))
    return {name: tuple(texts) for name, texts in shown.items()}
