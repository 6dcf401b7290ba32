"""What the commands have in common: how a config and its overrides are given, and the pipeline they make."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbiter.console import Console
from arbiter.home import data_home
from storage.errors import ArbiterError

if TYPE_CHECKING:
    from arbiter.pipeline import Pipeline

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG|FOLDER] [KEY=VALUE]...", help="A YAML config or a data folder, then overrides."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The YAML config, instead of the first word.")
]
ColumnsOption = Annotated[
    str | None, typer.Option(help="Which column holds what, where names do not say: question=Frage,answer=Antwort.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def read_words(command: str, words: list[str] | None, config: Path | None) -> tuple[Path, list[str]]:
    """The config file or data folder and the overrides of a command line. Raises ArbiterError without a config."""
    given = list(words or [])
    if given and not given[0]:  # An unset shell variable; as a path it would be the working folder.
        raise ArbiterError("the first word is empty; give a config, a data folder, or . for this folder")
    if config is None and given and ("=" not in given[0] or _exists(given[0])):
        config = Path(given.pop(0))
    if config is None:
        raise ArbiterError(
            f"no config given; for example: arbiter {command} configs/demo.yaml, or a data folder: "
            f"arbiter {command} my/folder"
        )
    try:
        config.expanduser()
    except RuntimeError as error:
        raise ArbiterError(f"{str(config)!r} is in the home of a user who is not known here; give a path") from error
    return config, given


def _exists(word: str) -> bool:
    try:
        return Path(word).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # an override too long for a path, a ~ of nobody
        return False


def open_pipeline(
    command: str, words: list[str] | None, config: Path | None, is_json: bool = False, **needs: bool
) -> Pipeline:
    """The pipeline of a command line, as `Pipeline` takes `needs`; heavy imports wait until the config is right."""
    from arbiter.config.loading import load_config

    path, given = read_words(command, words, config)
    loaded = load_config(path, given)
    console = Console(is_json=is_json)
    say_folder(path, console)
    from arbiter.data_stage.questions.bare import with_questions
    from arbiter.pipeline import Pipeline

    line = shlex.join(["arbiter", "run", str(path), *given])
    if needs.get("needs_questions", True):
        home, makes = data_home(), command == "run"
        loaded = with_questions(loaded, home=home, console=console, makes=makes, command=line)
    return Pipeline(loaded, home=data_home(), console=console, command=line, **needs)


def say_folder(path: Path, console: Console) -> None:
    """Say what a folder in the place of a config means."""
    if path.expanduser().is_dir():
        console.say(f"{str(path)!r} is a folder: its data, with the standard settings and the overrides that follow")
