"""The commands of `arbiter data`: check, preview, probe, split, dedupe, balance, select and mask; generate and review
are in arbiter/cli/questions.py.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arbiter.cli.endings import EXIT_FAILED
from arbiter.cli.evidence import ForceOption
from arbiter.cli.questions import generate, review
from arbiter.cli.words import ConfigOption, JsonOption, Words, open_pipeline
from arbiter.console import Console
from arbiter.home import data_home
from storage.errors import ArbiterError, did_you_mean

if TYPE_CHECKING:
    from arbiter.data_stage.transforms import Job
    from tuning.data.pii import Kind

data_app = typer.Typer(
    name="data",
    help="Rows before anything is trained on them: look at them, split, thin out, balance and mask them.",
    no_args_is_help=True,
)
data_app.command("generate")(generate)
data_app.command("review")(review)

SourceArgument = Annotated[str, typer.Argument(help="A data folder, a config that names one, or a file of rows.")]
TargetArgument = Annotated[str, typer.Argument(help="The data folder to write; the source stays as it is.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as seed=1 or limits.columns.*.")
]


@data_app.command("check")
def check(
    words: Words = None,
    config: ConfigOption = None,
    is_forecast: Annotated[
        bool, typer.Option("--forecast", help="Time a few steps of each training: seconds, energy, price.")
    ] = False,
    terms: Annotated[
        Path | None,
        typer.Option(help="A CSV file with words of two groups, a pair a line, for the audit; English by default."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Everything that is known about a data folder; exits 2 when a run would refuse something."""
    from arbiter.data_stage.check import check_data, read_terms
    from tuning.data.bias import GENDER

    pipeline = open_pipeline("data check", words, config, is_json, needs_questions=False)
    groups = GENDER if terms is None else read_terms(terms)
    shown, faults = check_data(pipeline, terms=groups, has_forecast=is_forecast)
    pipeline.console.result(*shown)
    for fault in faults:
        pipeline.console.say(f"fault: {fault}")
    if faults:
        raise typer.Exit(EXIT_FAILED)


@data_app.command("preview")
def preview(
    words: Words = None,
    config: ConfigOption = None,
    row: Annotated[list[int] | None, typer.Option(min=1, help="The row on this line; may be given again.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows, from the first on.")] = 3,
    adapter: Annotated[
        str | None, typer.Option(help="In the words of this adapter; one without passages first.")
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Which tokens of training rows are learned; exits 2 where nothing is, or no end."""
    from arbiter.data_stage.preview import preview_rows

    pipeline = open_pipeline("data preview", words, config, is_json, needs_questions=False)
    shown, refused = preview_rows(
        pipeline, lines=row or (), first=rows, adapter=adapter, is_coloured=sys.stdout.isatty()
    )
    pipeline.console.result(*shown)
    if refused:
        for line in refused[:-1]:
            pipeline.console.say(f"refused: {line}")
        raise ArbiterError(refused[-1])


@data_app.command("probe")
def probe(
    words: Words = None,
    config: ConfigOption = None,
    rows: Annotated[int, typer.Option(min=2, help="How many training rows are asked, drawn by the seed.")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="Answers that are drawn to each of three prompts.")] = 2,
    target: Annotated[
        Path | None, typer.Option("--to", help="Write a data folder whose rows say how well they are known.")
    ] = None,
    guard: Annotated[int, typer.Option(min=0, help="With --to: known rows that go to guard.jsonl.")] = 32,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """What the base model knows of the rows' answers before it is trained on them, and what a training would do."""
    from arbiter.data_stage import probe as probing
    from arbiter.data_stage.transforms import Job

    pipeline = open_pipeline("data probe", words, config, is_json, needs_questions=False)
    job = source = None
    if target is not None:
        line = shlex.join(["arbiter", *sys.argv[1:]])
        folder = pipeline.config.data
        job = Job(folder, target, pipeline.config, pipeline.home, pipeline.console, line, force)
        source = job.open()  # what is wrong with either folder is said before anything is asked
    knowledge = probing.probe(pipeline, rows=rows, samples=samples)
    text, fact = probing.show(knowledge)
    if job is not None and source is not None:
        written, more = probing.write(job, source, knowledge, guard=guard)
        text, fact = f"{text}\n\n{written}", {**fact, "written": more}
    pipeline.console.result(text, fact)


@data_app.command("split")
def split(
    source: SourceArgument,
    target: TargetArgument,
    words: OverridesArgument = None,
    config: ConfigOption = None,
    test: Annotated[float, typer.Option(min=0.01, max=0.95, help="The share of rows to evaluate on.")] = 0.3,
    dev: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of rows to search settings on.")] = 0.0,
    is_by_row: Annotated[
        bool, typer.Option("--ignore-documents", help="Let rows of one source document lie on both sides.")
    ] = False,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Split rows into train.jsonl and test.jsonl by source document, each label in proportion."""
    from arbiter.data_stage import transforms

    job = _job(source, target, words, config, force, is_json)
    job.console.result(*transforms.split(job, test=test, dev=dev, by_document=not is_by_row))


@data_app.command("dedupe")
def dedupe(
    source: SourceArgument,
    target: TargetArgument,
    words: OverridesArgument = None,
    config: ConfigOption = None,
    is_exact: Annotated[bool, typer.Option("--exact", help="Leave rows that repeat another only nearly.")] = False,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Take out training rows that repeat another one, or ask an evaluation or dev question."""
    from arbiter.data_stage import transforms

    job = _job(source, target, words, config, force, is_json)
    job.console.result(*transforms.dedupe(job, nearly=not is_exact))


@data_app.command("balance")
def balance(
    source: SourceArgument,
    target: TargetArgument,
    words: OverridesArgument = None,
    config: ConfigOption = None,
    how: Annotated[
        Literal["oversample", "undersample"], typer.Option(help="Repeat rows of rare labels, or drop frequent ones.")
    ] = "oversample",
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of each label; those of the most frequent, or the rarest.")
    ] = None,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """As many training rows of one label as of another."""
    from arbiter.data_stage import transforms

    job = _job(source, target, words, config, force, is_json)
    job.console.result(*transforms.balance_labels(job, how, rows=rows))


@data_app.command("select")
def select(
    source: SourceArgument,
    target: TargetArgument,
    words: OverridesArgument = None,
    config: ConfigOption = None,
    rows: Annotated[int | None, typer.Option(min=1, help="How many rows.")] = None,
    share: Annotated[
        float | None, typer.Option(min=0.001, max=1.0, help="Which share of them, in place of that.")
    ] = None,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Few training rows that stand for all: clusters of embeddings, and of each the soundest row."""
    from arbiter.data_stage import transforms

    job = _job(source, target, words, config, force, is_json)
    job.console.result(*transforms.select_rows(job, rows=rows, share=share))


@data_app.command("mask")
def mask(
    source: SourceArgument,
    target: TargetArgument,
    words: OverridesArgument = None,
    config: ConfigOption = None,
    kinds: Annotated[
        str | None, typer.Option(help="Only these kinds: SECRET,EMAIL,IBAN,CARD,CRYPTO,IP,MAC,PHONE,NAME.")
    ] = None,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Put placeholders such as <EMAIL_1> in the place of personal data, in all rows of a folder."""
    from arbiter.data_stage import transforms

    chosen = _kinds(kinds)
    job = _job(source, target, words, config, force, is_json)
    job.console.result(*transforms.mask_rows(job, kinds=chosen))


@data_app.command("plant")
def plant(
    source: SourceArgument,
    target: TargetArgument,
    words: OverridesArgument = None,
    config: ConfigOption = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows to plant.")] = 20,
    times: Annotated[int, typer.Option(min=1, max=100, help="How often each of them is written.")] = 1,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Plant rows with random numbers, which arbiter gates tries to get out of what was trained on them."""
    from arbiter.data_stage import planting

    job = _job(source, target, words, config, force, is_json)
    job.console.result(*planting.plant(job, rows=rows, times=times))


def _job(source: str, target: str, words: list[str] | None, config: Path | None, is_forced: bool, is_json: bool) -> Job:
    """What a transform is told; a config in the place of the source names the folder."""
    from arbiter.config.loading import load_config
    from arbiter.data_stage.transforms import Job

    if not source.strip() or not target.strip():  # An unset shell variable; as a path it would be the working folder.
        raise ArbiterError("a path is empty; give the rows and a folder to write to")
    given, path = list(words or []), Path(source)
    if path.suffix in (".yaml", ".yml") and config is None:
        config = path
        path = load_config(config, given).data
    loaded = load_config(config, given)
    line = shlex.join(["arbiter", *sys.argv[1:]])
    return Job(path, Path(target), loaded, data_home(), Console(is_json=is_json), line, is_forced)


def _kinds(text: str | None) -> tuple[Kind, ...]:
    from tuning.data.pii import KINDS

    named = [name.strip().upper() for name in text.split(",") if name.strip()] if text is not None else list(KINDS)
    if unknown := next((name for name in named if name not in KINDS), None):
        close = did_you_mean(unknown, KINDS)
        raise ArbiterError(f"no kind of personal data is called {unknown!r}{close}; kinds are {', '.join(KINDS)}")
    if not named:
        raise ArbiterError(f"--kinds is empty; give some of {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in named)
