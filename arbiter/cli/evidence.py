"""The commands around a decision: `arbiter plan`, `gates`, `judge`, `sweep`, `runs`, `import` and `decisions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from arbiter.cli.decisions import decisions_app
from arbiter.cli.endings import EXIT_MISSED
from arbiter.cli.words import ColumnsOption, ConfigOption, JsonOption, Words, open_pipeline, read_words
from arbiter.console import Console
from arbiter.home import data_home
from eval.exchange.formats import Format

runs_app = typer.Typer(name="runs", help="Finished runs: list them, compare two, export answers.", no_args_is_help=True)
judge_app = typer.Typer(name="judge", help="Certify the judge before its scores decide anything.", no_args_is_help=True)

ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]


# Without a name of its own it puts its commands beside the main job's.
evidence_app = typer.Typer()
for group in (runs_app, judge_app, decisions_app):
    evidence_app.add_typer(group)


@evidence_app.command()
def plan(
    words: Words = None,
    config: ConfigOption = None,
    discordance: Annotated[
        float | None,
        typer.Option(min=0.001, max=1.0, help="Share of questions on which two arms disagree; default: as measured."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """How many questions which effect takes, and what the data folder's questions can show; asks nothing."""
    from arbiter.cli.plan import show_plan

    pipeline = open_pipeline("plan", words, config, is_json)
    pipeline.console.result(*show_plan(pipeline, discordance))


@evidence_app.command()
def sweep(
    words: Words = None,
    config: ConfigOption = None,
    arm: Annotated[str | None, typer.Option(help="The arm whose settings are tried.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many settings to try.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Try the settings of one arm on the dev questions; goes on where an earlier sweep was stopped."""
    from arbiter.sweep.trials import run_sweep

    given = [*(words or [])]
    given += [f"sweep.arm={arm}"] if arm is not None else []
    given += [f"sweep.trials={trials}"] if trials is not None else []
    pipeline = open_pipeline("sweep", given, config, is_json, needs_dev=True)
    report = run_sweep(pipeline, pipeline.config.sweep)
    pipeline.console.result(report.to_text(), report.to_dict())


@evidence_app.command()
def gates(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|CONFIG|FOLDER] [KEY=VALUE]...",
            help="A finished run, or a config with overrides for its last one; by default the newest run.",
        ),
    ] = None,
    config: ConfigOption = None,
    arm: Annotated[str | None, typer.Option(help="An arm of the run; by default the one that was decided for.")] = None,
    is_checked: Annotated[
        bool, typer.Option("--check", help="Exit 1 when a gate stands against the promotion of the arm.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Measure what a tuned arm must not have lost, leaked or learned, before it is promoted."""
    from arbiter.cli.gates import open_gated_run, show_results
    from arbiter.gating import measure_gates

    pipeline, run = open_gated_run(words, config, is_json)
    results = measure_gates(pipeline, run, arm=arm)
    pipeline.console.result(*show_results(run, results))
    if is_checked and any(one.blocks for one in results):
        raise typer.Exit(EXIT_MISSED)


@judge_app.command("certify")
def certify(
    labels: Annotated[Path, typer.Option(help="Rows {question, response, reference, label}, label 0 or 1.")],
    words: Words = None,
    config: ConfigOption = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Rows {prompt, chosen, rejected}, for position and length bias.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Which column of the files holds what: question=Frage,label=Urteil.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often a part of the rows is asked.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Use at most so many labelled rows and pairs.")] = None,
    is_json: JsonOption = False,
) -> None:
    """Measure the judge against people's labels; exits 1 when it is not certified."""
    from arbiter.config.loading import load_config
    from arbiter.judge import certificate_text, certify_judge
    from tuning.data.formats.read import parse_columns

    loaded = load_config(*read_words("judge certify", words, config))
    console = Console(is_json=is_json)
    certificate = certify_judge(
        loaded,
        labels,
        pairs=pairs,
        columns=parse_columns(columns) if columns is not None else None,
        repeats=repeats,
        limit=limit,
        home=data_home(),
        console=console,
    )
    console.result(certificate_text(certificate), certificate.to_dict())
    if not certificate.is_certified:
        raise typer.Exit(EXIT_MISSED)


@runs_app.command("list")
def list_runs(is_json: JsonOption = False) -> None:
    """Every run of the data directory, the newest first."""
    from arbiter.cli.runs import show_runs

    Console(is_json=is_json).result(*show_runs(data_home()))


@runs_app.command("diff")
def diff_runs(
    before: Annotated[str, typer.Argument(help="A run's id, the beginning of it, or its folder.")],
    after: Annotated[str, typer.Argument(help="The run to compare with it.")],
    margin: Annotated[float, typer.Option(min=0.001, max=0.999, help="The smallest change that matters.")] = 0.05,
    is_json: JsonOption = False,
) -> None:
    """What changed between two runs: config, data, arms, and each arm's answers question by question."""
    from arbiter.cli.runs import show_diff
    from router.deciding.policy import Policy

    Console(is_json=is_json).result(*show_diff(data_home(), before, after, Policy(margin=margin)))


@runs_app.command("export")
def export_run(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of it, or its folder.")],
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    format: Annotated[
        Literal["ragas", "lm-eval", "ragchecker"], typer.Option(help="Whose shape the files have.")
    ] = "ragas",
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm; may be given again.")] = None,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Write a run's answers for another tool."""
    from arbiter.cli.runs import export_answers

    shown = export_answers(data_home(), run, folder, format=format, arms=arm or (), is_forced=force)
    Console(is_json=is_json).result(*shown)


@evidence_app.command("import")
def import_data(
    source: Annotated[Path, typer.Argument(help="A file or a folder of rows in any format of docs/data.md.")],
    folder: Annotated[Path, typer.Argument(help="The data folder to write.")],
    format: Annotated[
        Format | None,
        typer.Option(help="What it is; found out by default."),
    ] = None,
    columns: ColumnsOption = None,
    train_share: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.9, help="Share of the rows, by source document, to train on, where none say so."),
    ] = None,
    force: ForceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Make a data folder of a data set in a format that other tools write."""
    from arbiter.cli.runs import import_folder

    shown = import_folder(source, folder, format=format, columns=columns, train_share=train_share, is_forced=force)
    Console(is_json=is_json).result(*shown)
