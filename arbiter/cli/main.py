"""The command line: `arbiter doctor | check | index | tune | evaluate | decide | run | serve | chat`, and those of
arbiter/cli/adapters.py, data.py, index.py and evidence.py.

Every command takes a config and overrides: `arbiter run configs/demo.yaml data=my/folder limits.questions=60`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from arbiter.cli.adapters import adapters_app
from arbiter.cli.data import data_app
from arbiter.cli.endings import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_MISSED, EXIT_TERMINATED, LOG, STOPPED, ending
from arbiter.cli.evidence import evidence_app
from arbiter.cli.index import index_app
from arbiter.cli.words import ConfigOption, JsonOption, Words, open_pipeline, read_words, say_folder
from arbiter.console import Console
from arbiter.home import data_home
from storage.errors import StorageError

if TYPE_CHECKING:
    from arbiter.pipeline import Pipeline
    from eval.runs.run import Run
    from router.deciding.decision import Decision

app = typer.Typer(
    name="arbiter",
    help="RAG, fine-tuning, or both? Measure it on your documents and questions, decide, and serve the decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

PortOption = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")]
HostOption = Annotated[str, typer.Option(help="The address to listen on.")]
WholeOption = Annotated[
    bool, typer.Option("--whole", help="Ask every arm every question instead of racing; the same as race=null.")
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Exit 1 when the decision misses what policy.require demands.")
]

app.add_typer(adapters_app)
app.add_typer(evidence_app)
app.add_typer(index_app)
app.add_typer(data_app)


@app.command()
def run(
    words: Words = None, config: ConfigOption = None, is_whole: WholeOption = False, is_json: JsonOption = False
) -> None:
    """The main job: index, tune, evaluate, decide. Goes on where an earlier run was stopped."""
    pipeline = open_pipeline("run", _raced(words, is_whole), config, is_json)
    _show_decision(pipeline, pipeline.evaluate())


@app.command()
def check(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Read the config and the data and list what is wrong with them; trains, converts and asks nothing."""
    from arbiter.check import check_all

    path, given = read_words("check", words, config)
    console = Console(is_json=is_json)
    say_folder(path, console)
    console.result(*check_all(path, given, home=data_home(), console=console))


@app.command()
def doctor(is_json: JsonOption = False) -> None:
    """Show what this machine offers and what is missing; exits 2 when something is."""
    from arbiter.cli.doctor import examine

    console = Console(is_json=is_json)
    findings = examine(data_home())
    lines = [f"{'ok  ' if finding.is_ok else 'FAIL'} {finding.name}: {finding.detail}" for finding in findings]
    console.result("\n".join(lines), [asdict(finding) for finding in findings])
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def tune(
    words: Words = None,
    config: ConfigOption = None,
    is_listed: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Show every method, how large its adapter would be for the base model, every objective and optimizer.",
        ),
    ] = False,
    is_forecast: Annotated[
        bool,
        typer.Option(
            "--forecast", help="Say how long each training would take, and how much memory, or why it cannot be."
        ),
    ] = False,
    is_curve: Annotated[
        bool, typer.Option("--curve", help="Train on a few sizes, and say how many more examples would be worth it.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Train the adapters that the arms need."""
    if is_listed:
        from arbiter.cli.methods import show_methods

        path, given = read_words("tune", words, config) if words or config else (None, [])
        Console(is_json=is_json).result(*show_methods(path, given, data_home()))
        return
    if is_curve:
        from arbiter.curve import measure_curve

        pipeline = open_pipeline("tune --curve", words, config, is_json, needs_dev=True)
        report = measure_curve(pipeline)
        pipeline.console.result(report.to_text(), report.to_dict())
        return
    pipeline = open_pipeline("tune", words, config, is_json)
    if is_forecast:
        from arbiter.training import in_words

        found = pipeline.forecast()
        said = [in_words(name, one) for name, one in found.items()]
        shown = {
            name: {"obstacle": one} if isinstance(one, str) else one and asdict(one) for name, one in found.items()
        }
        pipeline.console.result("\n".join(said) or "no arm needs an adapter", shown)
        if any(isinstance(one, str) for one in found.values()):
            raise typer.Exit(EXIT_FAILED)
        return
    adapters = pipeline.adapters
    lines = [f"{a.name}: {a.num_rows} rows, {a.training_s:.0f} s, {a.path}" for a in adapters.values()]
    rows = {
        key: {
            "name": a.name,
            "path": str(a.path),
            "rank": a.rank,
            "objective": a.objective,
            "num_rows": a.num_rows,
            "training_s": a.training_s,
            "preference": asdict(a.preference) if a.preference is not None else None,
        }
        for key, a in adapters.items()
    }
    pipeline.console.result("\n".join(lines) or "no arm needs an adapter", rows)


@app.command()
def evaluate(
    words: Words = None, config: ConfigOption = None, is_whole: WholeOption = False, is_json: JsonOption = False
) -> None:
    """Ask every arm every question, or as many as a race needs, and score the answers."""
    from router.deciding.wording import as_score

    pipeline = open_pipeline("evaluate", _raced(words, is_whole), config, is_json)
    finished = pipeline.evaluate()
    card = finished.scorecard().for_churn(pipeline.config.policy.traffic.churn).raced()
    means = {s.arm.name: interval for s in card.arms if (interval := card.interval(s, card.primary))}
    lines = [
        f"{name}: {card.primary} {as_score(i.mean)} ({as_score(i.low)} to {as_score(i.high)})"
        for name, i in means.items()
    ]
    row = {
        "run": str(finished.directory),
        "metric": card.primary,
        "arms": {name: asdict(interval) for name, interval in means.items()},
    }
    pipeline.console.result("\n".join([*lines, f"run: {finished.directory}"]), row)


@app.command()
def decide(
    words: Words = None,
    config: ConfigOption = None,
    is_whole: WholeOption = False,
    is_checked: CheckOption = False,
    is_json: JsonOption = False,
) -> None:
    """Decide again from the last finished run, for example with another policy; asks nothing."""
    from arbiter.deciding import race_reason, stale_reason
    from arbiter.finished_runs import last_run

    pipeline = open_pipeline("decide", _raced(words, is_whole), config, is_json)
    finished, policy = last_run(pipeline.config, pipeline.home), pipeline.config.policy
    decision = _show_decision(pipeline, finished)
    stale = stale_reason(finished, pipeline.read)
    for reason in (stale, race_reason(finished, pipeline.config)):
        if reason is not None:
            pipeline.console.say(f"warning: {reason}")
    if is_checked:
        from router.deciding.arm_table import make_table

        missed = policy.require.missed_by(decision, make_table(finished.scorecard(), policy), stale_reason=stale)
        for line in missed:
            pipeline.console.say(f"missed: {line}")
        if missed:
            raise typer.Exit(EXIT_MISSED)
        pipeline.console.say("the decision meets every demand of policy.require")


@app.command()
def serve(
    words: Words = None, config: ConfigOption = None, port: PortOption = 8080, host: HostOption = "127.0.0.1"
) -> None:
    """Serve the decision, and every arm by name, behind an OpenAI-compatible endpoint."""
    from arbiter.server import serve_decision

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    pipeline = open_pipeline("serve", words, config)
    serve_decision(pipeline, host=host, port=port)


@app.command()
def chat(
    url: Annotated[str, typer.Option(help="The endpoint of `arbiter serve`.")] = "http://127.0.0.1:8080/v1",
    model: Annotated[str, typer.Option(help="auto, or an arm by name.")] = "auto",
) -> None:
    """Talk to a running `arbiter serve`; an empty line or Ctrl-D ends."""
    from arbiter.cli.chat import talk

    talk(url, model, Console())


def main() -> None:
    """The console script: errors become one line and an exit code, never a traceback."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a sign that it cannot show must not cost the result
    # On some processors its import warns of a kernel that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # A service manager's stop must end the engine as Ctrl-C does, not leave it to its guard.
    termination = Termination()
    signal.signal(signal.SIGTERM, termination)
    run_to_the_end(app, termination)


class Termination:
    """SIGTERM as Ctrl-C, on which event loops know how to end; `is_asked` tells the two apart."""

    is_asked = False

    def __call__(self, _signum: int, _frame: object) -> None:
        """The signal's handler."""
        self.is_asked = True
        if not callable(signal.getsignal(signal.SIGINT)):  # ignored, as in a shell's background
            sys.exit(EXIT_TERMINATED)
        signal.raise_signal(signal.SIGINT)

    def code(self, code: int | str | None) -> int | str | None:
        """The exit code: a command that ended for the signal says so."""
        return EXIT_TERMINATED if self.is_asked and code in (None, 0, EXIT_INTERRUPTED) else code


def run_to_the_end(command: Callable[[], object], termination: Termination | None = None) -> NoReturn:
    """Run a command and exit with its code; whatever it raises becomes one line on standard error."""
    termination = termination or Termination()
    try:
        command()
        line, code = "", termination.code(0)
    except SystemExit as ended:
        line, code = "", termination.code(ended.code)
    except BaseException as error:
        if os.environ.get("ARBITER_DEBUG"):
            traceback.print_exception(error)
        line, failed = ending(error, _log())
        code = termination.code(failed)
    # Typer turns Ctrl-C inside a command into the exit code without a word.
    line = STOPPED.get(code, line)
    if line:
        with contextlib.suppress(OSError):
            sys.stderr.write(line + "\n")
    sys.exit(code)


def _log() -> Path:
    try:
        return data_home() / LOG
    except StorageError:
        return Path(os.devnull) / LOG  # cannot be written, which `ending` says


def _raced(words: list[str] | None, is_whole: bool) -> list[str]:
    return [*(words or []), *(["race=null"] if is_whole else [])]


def _show_decision(pipeline: Pipeline, finished: Run) -> Decision:
    from eval.report.tables import to_json, to_markdown

    decision = pipeline.decide(finished)
    card = finished.card()
    text = [
        to_markdown(card),
        f"report: {finished.directory / 'report.html'}",
        f"serve it: {finished.manifest['command'].replace('arbiter run', 'arbiter serve', 1)} --port 8080",
    ]
    pipeline.console.result("\n".join(text), to_json(str(finished.directory), card))
    return decision
