"""A folder of nothing but documents in the place of a data folder: its questions are made, and kept for later commands.

config = with_questions(config, home=home, console=console, makes=True, command="arbiter run docs/")
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data_stage.questions.material import is_bare, link_documents, read_documents
from eval.generated import REVIEW
from storage.errors import ArbiterError


def with_questions(config: Config, *, home: Path, console: Console, makes: bool, command: str) -> Config:
    """The config, of a bare folder with the data folder that was made of it, or is made now if the command `makes` one.

    Raises ArbiterError where there is none and none is made, and where none can be made.
    """
    if not is_bare(config.data):
        return config
    made = folder_of(config.data, home)
    review = f"arbiter data review {shlex.quote(str(made / REVIEW))}"
    if not (made / "test.jsonl").is_file():
        if (made / REVIEW).is_file() and not makes:
            raise ArbiterError(f"no question about the documents in {str(config.data)!r} is accepted: {review}")
        if not makes:
            raise ArbiterError(
                f"{str(config.data)!r} holds documents and no questions; make some and look through them: arbiter data "
                f"generate {shlex.quote(str(config.data))} FOLDER, or let them be made and used at once: arbiter run "
                f"{shlex.quote(str(config.data))}"
            )
        _make(config, made, home, console, command)
    link_documents(made, config.data)
    console.say(f"note: the questions about {config.data} are those in {made}, made from the documents; {review}")
    return config.model_copy(update={"data": made})


def folder_of(documents: Path, home: Path) -> Path:
    """Where the questions of a bare folder are kept."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", documents.name).strip(".-") or "docs"
    return home / "generated" / f"{safe}-{hashlib.sha256(str(documents).encode()).hexdigest()[:6]}"


def _make(config: Config, made: Path, home: Path, console: Console, command: str) -> None:
    from arbiter.data_stage.questions.generate import Generation

    console.say(
        f"note: {str(config.data)!r} holds documents and no questions: they are made from them now, and used though "
        "nobody has reviewed them; generate.teacher says by whom"
    )
    material = read_documents(config.data, config, home=home, console=console)
    settings = replace(config.generate, questions=max(config.generate.questions, 1), take_proposed=True)
    if len({chunk.document_id for chunk in material.chunks}) < 2 and settings.examples:
        console.say("note: there is one document, so that no training examples can be made beside the questions")
        settings = replace(settings, examples=0)
    config = config.model_copy(update={"generate": settings})
    with console.alone(made.with_name(f".{made.name}.lock"), f"another process makes {made.name}; waiting for it"):
        if not (made / "test.jsonl").is_file():
            generation = Generation(
                material=material,
                target=made,
                config=config,
                home=home,
                console=console,
                command=command,
                copies=False,
            )
            text, _ = generation.run()
            for line in text.splitlines():
                console.say(f"  {line}")
