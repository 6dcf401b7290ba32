"""`arbiter data generate` and `arbiter data review`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from arbiter.cli.words import ConfigOption, JsonOption
from arbiter.console import Console
from arbiter.home import data_home
from storage.errors import ArbiterError


def generate(
    source: Annotated[
        str, typer.Argument(help="A folder or file of documents, or a data folder with documents alone.")
    ],
    target: Annotated[str, typer.Argument(help="The data folder to write, or to go on with.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as seed=1 or generate.teacher.timeout_s=120."),
    ] = None,
    config: ConfigOption = None,
    is_index: Annotated[bool, typer.Option("--index", help="The source is the name of an index.")] = False,
    teacher: Annotated[
        str | None, typer.Option(help="The URL of the model that writes, ending in /v1; its key is OPENAI_API_KEY.")
    ] = None,
    model: Annotated[str | None, typer.Option("--teacher-model", help="What it is called there.")] = None,
    questions: Annotated[int | None, typer.Option(min=0, help="How many to evaluate on.")] = None,
    examples: Annotated[int | None, typer.Option(min=0, help="How many to train on, from other documents.")] = None,
    kinds: Annotated[
        str | None, typer.Option(help="Only these kinds: fact,multi-hop,yes-no,unanswerable,format.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of what is drawn.")] = None,
    max_requests: Annotated[int | None, typer.Option(min=1, help="The most requests, over all starts.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens, over all starts.")] = None,
    takes_proposed: Annotated[
        bool, typer.Option("--take-proposed", help="Use the questions before anybody has reviewed them.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Make questions with gold answers and passages from documents, to be looked through; a stop is resumed."""
    from arbiter.config.loading import load_config
    from arbiter.data_stage.questions.generate import Generation
    from arbiter.data_stage.questions.material import read_documents, read_index

    if not source.strip() or not target.strip():  # An unset shell variable; as a path it would be the working folder.
        raise ArbiterError("a path is empty; give the documents and a folder to write to")
    told = {
        "generate.teacher.url": teacher,
        "generate.teacher.model": model,
        "generate.questions": questions,
        "generate.examples": examples,
        "generate.kinds": None if kinds is None else f"[{kinds.replace('/', '-')}]",
        "seed": seed,
        "generate.max_requests": max_requests,
        "generate.max_tokens": max_tokens,
        "generate.take_proposed": "true" if takes_proposed else None,
    }
    given = [*(words or []), *(f"{key}={value}" for key, value in told.items() if value is not None)]
    path = Path(source)
    if path.suffix in (".yaml", ".yml") and config is None and not is_index:
        config = path
        path = load_config(config, given).data
    loaded, console, home = load_config(config, given), Console(is_json=is_json), data_home()
    material = (
        read_index(source, loaded, home=home, console=console)
        if is_index
        else read_documents(path, loaded, home=home, console=console)
    )
    line = shlex.join(["arbiter", *sys.argv[1:]])
    made = Generation(material=material, target=Path(target), config=loaded, home=home, console=console, command=line)
    console.result(*made.run())


def review(
    file: Annotated[Path, typer.Argument(help="The file to_review.jsonl, or the folder that it lies in.")],
    accepts_all: Annotated[
        bool, typer.Option("--accept-all", help="Accept what is left without asking; it counts as not reviewed.")
    ] = False,
    takes_proposed: Annotated[
        bool, typer.Option("--take-proposed", help="Use also what is not reviewed yet, and say so.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Accept, edit or reject generated questions one by one; what is accepted becomes test.jsonl and train.jsonl."""
    from arbiter.data_stage.questions.review import review as look_through

    console = Console(is_json=is_json)
    console.result(
        *look_through(
            file, console=console, read=sys.stdin.readline, accepts_all=accepts_all, take_proposed=takes_proposed
        )
    )
