"""The command line: `arbiter doctor | check | index | tune | evaluate | decide | run | serve | chat`.

Every command takes a config and overrides: `arbiter run configs/demo.yaml data=my/folder limits.questions=60`.
"""

from __future__ import annotations

import errno
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from eval.errors import EvalError
from rag.errors import RagError
from router.errors import RouterError
from serving.console import Console
from serving.errors import ServingError
from tuning.errors import TuningError

if TYPE_CHECKING:
    from serving.pipeline import Pipeline

ERRORS = (RagError, TuningError, RouterError, EvalError, ServingError)
EXIT_FAILED = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
INTERRUPTED = "interrupted; the same command goes on where it stopped"

app = typer.Typer(
    name="arbiter",
    help="RAG, fine-tuning, or both? Measure it on your documents and questions, decide, and serve the decision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="A YAML config, then overrides of its keys."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The YAML config, instead of the first word.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")]
HostOption = Annotated[str, typer.Option(help="The address to listen on.")]


@app.command()
def run(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """The main job: index, tune, evaluate, decide. Goes on where an earlier run was stopped."""
    pipeline, console = _pipeline("run", words, config, is_json)
    _decide_and_show(pipeline, console)


@app.command()
def check(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Read the config and the data and list what is wrong with them; trains and asks nothing."""
    pipeline, console = _pipeline("check", words, config, is_json)
    data = pipeline.data
    row = {
        "data": str(data.folder),
        "documents": len(data.documents),
        "skipped": [{"path": s.path, "reason": s.reason} for s in data.skipped],
        "training_rows": len(data.examples),
        "questions": len(data.questions),
        "arms": list(pipeline.config.arms),
    }
    console.result(f"config and data are fine; arms: {', '.join(pipeline.config.arms)}", row)


@app.command()
def doctor(is_json: JsonOption = False) -> None:
    """Show what this machine offers and what is missing; exits 2 when something is."""
    from serving.config import data_home
    from serving.doctor import examine

    console = Console(is_json=is_json)
    findings = examine(data_home())
    lines = [f"{'ok  ' if finding.is_ok else 'FAIL'} {finding.name}: {finding.detail}" for finding in findings]
    console.result("\n".join(lines), [finding.to_dict() for finding in findings])
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def index(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Bring the indexes up to date with the data folder."""
    from dataclasses import asdict

    pipeline, console = _pipeline("index", words, config, is_json)
    reports = pipeline.index()
    lines = [
        f"{role}: {r.num_chunks} chunks, {r.embedded_chunks} embedded in {r.seconds:.1f} s"
        for role, r in reports.items()
    ]
    console.result("\n".join(lines), {role: asdict(report) for role, report in reports.items()})


@app.command()
def tune(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Train the adapters that the arms need."""
    pipeline, console = _pipeline("tune", words, config, is_json)
    adapters = pipeline.adapters
    lines = [f"{a.name}: {a.num_rows} rows, {a.training_s:.0f} s, {a.path}" for a in adapters.values()]
    rows = {
        key: {"name": a.name, "path": str(a.path), "rank": a.rank, "num_rows": a.num_rows, "training_s": a.training_s}
        for key, a in adapters.items()
    }
    console.result("\n".join(lines) or "no arm needs an adapter", rows)


@app.command()
def evaluate(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Ask every arm every question and score the answers."""
    pipeline, console = _pipeline("evaluate", words, config, is_json)
    finished = pipeline.evaluate()
    scorecard = finished.scorecard()
    means = {s.arm.name: interval for s in scorecard.arms if (interval := scorecard.interval(s, scorecard.primary))}
    lines = [f"{name}: {scorecard.primary} {i.mean:.2f} ({i.low:.2f} to {i.high:.2f})" for name, i in means.items()]
    row = {
        "run": str(finished.directory),
        "metric": scorecard.primary,
        "arms": {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in means.items()},
    }
    console.result("\n".join([*lines, f"run: {finished.directory}"]), row)


@app.command()
def decide(words: Words = None, config: ConfigOption = None, is_json: JsonOption = False) -> None:
    """Decide again from the last finished run, for example with another policy; asks nothing."""
    pipeline, console = _pipeline("decide", words, config, is_json)
    _decide_and_show(pipeline, console, run_again=False)


@app.command()
def serve(
    words: Words = None, config: ConfigOption = None, port: PortOption = 8080, host: HostOption = "127.0.0.1"
) -> None:
    """Serve the decision, and every arm by name, behind an OpenAI-compatible endpoint."""
    from serving.server import serve_decision

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    pipeline, console = _pipeline("serve", words, config, is_json=False)
    serve_decision(pipeline, console, host=host, port=port)


@app.command()
def chat(
    url: Annotated[str, typer.Option(help="The endpoint of `arbiter serve`.")] = "http://127.0.0.1:8080/v1",
    model: Annotated[str, typer.Option(help="auto, or an arm by name.")] = "auto",
) -> None:
    """Talk to a running `arbiter serve`; an empty line or Ctrl-D ends."""
    from serving.chat import talk

    talk(url, model, Console())


def main() -> None:
    """The console script: errors become one line and an exit code, never a traceback."""
    # A service manager's stop must end the engine as Ctrl-C does, not leave it to its leash.
    signal.signal(signal.SIGTERM, lambda _signum, _frame: sys.exit(EXIT_TERMINATED))
    try:
        app()
    except KeyboardInterrupt:
        _end(INTERRUPTED, EXIT_INTERRUPTED)
    except SystemExit as ended:
        # Typer turns Ctrl-C inside a command into this exit code without a word.
        if ended.code == EXIT_INTERRUPTED:
            _end(INTERRUPTED, EXIT_INTERRUPTED)
        raise
    except ERRORS as error:
        _end(f"error: {error}", EXIT_FAILED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _end("error: the disk is full; free some space and run the same command again", EXIT_FAILED)


def _end(line: str, code: int) -> NoReturn:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
    sys.exit(code)


def _pipeline(command: str, words: list[str] | None, config: Path | None, is_json: bool) -> tuple[Pipeline, Console]:
    """The pipeline of a command line; heavy imports wait until the config is known to be right."""
    from serving.config import data_home, load_config

    given = list(words or [])
    if config is None and given and "=" not in given[0]:
        config = Path(given.pop(0))
    if config is None:
        raise ServingError(f"no config given; for example: arbiter {command} configs/demo.yaml")
    loaded = load_config(config, given)
    console = Console(is_json=is_json)
    from serving.pipeline import Pipeline

    line = shlex.join(["arbiter", "run", str(config), *given])
    return Pipeline(loaded, home=data_home(), console=console, command=line), console


def _decide_and_show(pipeline: Pipeline, console: Console, *, run_again: bool = True) -> None:
    from eval.report import to_json, to_markdown
    from serving.build import build_policy

    finished = pipeline.evaluate() if run_again else pipeline.last_run()
    decision = pipeline.decide(finished)
    scorecard, policy = finished.scorecard(), build_policy(pipeline.config.policy)
    text = [
        to_markdown(scorecard, decision, policy),
        f"report: {finished.directory / 'report.html'}",
        f"serve it: {finished.manifest['command'].replace('arbiter run', 'arbiter serve', 1)} --port 8080",
    ]
    row: dict[str, Any] = to_json(str(finished.directory), scorecard, decision)
    console.result("\n".join(text), row)
