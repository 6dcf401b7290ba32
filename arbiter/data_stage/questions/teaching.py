"""The teacher of a config, ready to be asked: a model at a URL, or the config's own model on its engine.

with open_teacher(config, home=home, console=console) as told:
    told.label, told.url
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from arbiter.build import open_engine
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.models import GENERATOR, resolve_model
from eval.generation.settings import bare_url
from router.answering.engine import Place
from serving.engine.engine import engine_identity
from tuning.base import ResolvedModel

_POOR = (
    f"the questions are written by the embedded {GENERATOR}, which is too small to write good ones: few of its drafts "
    "are kept, and those should be reviewed; generate.teacher.url and generate.teacher.model name another model"
)


@dataclass(frozen=True, slots=True)
class OpenTeacher:
    """Where the teacher is and how it is asked. `label` names it to people; `identity` is what shapes its replies."""

    label: str
    identity: str
    url: str
    model: str
    api_key: str
    timeout_s: float
    concurrency: int
    retries: int
    hold: Callable[[str], AbstractAsyncContextManager[Place]] | None = None


def teacher_warning(config: Config) -> str | None:
    """What must be known of the teacher before it is believed; None where nothing is."""
    is_embedded = config.generate.teacher is None and config.engine.url is None and config.model == GENERATOR
    return _POOR if is_embedded else None


@contextmanager
def open_teacher(config: Config, *, home: Path, console: Console) -> Iterator[OpenTeacher]:
    """The teacher while the block lasts; the config's own engine is started and stopped. Raises ArbiterError."""
    told = config.generate.teacher
    if told is not None:
        yield OpenTeacher(
            label=told.label,
            identity=told.identity,
            url=told.url,
            model=told.model,
            api_key=told.api_key,
            timeout_s=told.timeout_s,
            concurrency=told.concurrency,
            retries=told.retries,
        )
        return
    if config.engine.url is None:
        base = resolve_model(config.model, home=home, revision=config.revision, progress=console.say)
        label = base.label
    else:
        base = ResolvedModel(config.engine.model or config.model, f"at {bare_url(config.engine.url)}", path="")
        label = base.label
    with open_engine(config, base, {}, home=home, console=console) as engine:
        yield OpenTeacher(
            label=label,
            identity=f"{label} {engine_identity(config.engine)}",
            url=engine.url,
            model=engine.base_model,
            api_key=engine.api_key,
            timeout_s=config.engine.request_timeout_s,
            concurrency=config.eval.concurrency,
            retries=2,
            hold=engine.hold,
        )
