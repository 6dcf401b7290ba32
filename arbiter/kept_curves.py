"""Learning curves in the data directory, a file for each config and arm, found again by what shaped them.

path = keep_curve(home, config, data, measured, versions)
find_curves(home, config, lambda: data, name=data.name, versions=versions)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass, replace
from json import dumps
from pathlib import Path

from arbiter.config.schema import Config
from arbiter.config.sections import ArmConfig
from arbiter.data import Data
from arbiter.learned import learned_part
from eval.learning_curve import MeasuredCurve
from storage.errors import StorageError
from storage.files import replace_text
from storage.hashes import content_hash
from storage.records import from_json
from tuning.training.run import VERSION

_FOLDER = "curves"


@dataclass(frozen=True, slots=True)
class Versions:
    """What shapes answers and scores beside config and data: the revision of the base model, the embedder's label, and
    what answers owe to the engine.
    """

    base: str
    embedder: str
    engine: str


@dataclass(frozen=True, slots=True)
class KeptCurve:
    """What a file holds: a curve, and the hash of the documents, training rows and dev questions that it is of."""

    data: str
    measured: MeasuredCurve


def curve_arm(config: Config) -> str | None:
    """The arm whose curve is measured: the one that is said, or the first that is trained on examples."""
    return config.curve.arm or next((name for name, arm in config.arms.items() if learns_examples(config, arm)), None)


def learns_examples(config: Config, arm: ArmConfig) -> bool:
    """Whether an arm is trained, and on examples; a mixture's curve would be that of several trainings."""
    return (
        not arm.proposers
        and arm.adapter in config.adapters
        and learned_part(config.adapters[arm.adapter]) == "examples"
    )


def keep_curve(home: Path, config: Config, data: Data, measured: MeasuredCurve, versions: Versions) -> Path:
    """Write what was measured with a config, in place of what was measured with it of other data."""
    path = _path(home, config, measured.arm, data.name, versions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {str(path)!r}: {error.strerror or error}; check the path") from error
    replace_text(path, dumps(asdict(KeptCurve(_content(data), measured))) + "\n")
    return path


def find_curves(
    home: Path, config: Config, data: Callable[[], Data], *, name: str, versions: Versions
) -> Iterator[MeasuredCurve]:
    """The curves of a config's arms, in their order, that are of this data and were measured with all that shapes them
    as it is. `data`, with its dev questions, is asked for only where there is a file; `name` is the data's.
    """
    for arm, spec in config.arms.items():
        path = None if spec.adapter is None or spec.proposers else _path(home, config, arm, name, versions)
        if path is None or not path.is_file():
            continue
        try:
            kept = from_json(KeptCurve, path.read_bytes())
        except (OSError, ValueError):  # torn, or another version's: it is measured again
            continue
        if kept.data == _content(data()):
            yield kept.measured


def _path(home: Path, config: Config, arm: str, data_name: str, versions: Versions) -> Path:
    shaped_by = content_hash(_alone(config, arm).fingerprint(), *astuple(versions), f"{VERSION}")
    return home / _FOLDER / f"{data_name}-{arm}-{shaped_by[:12]}.json"


def _alone(config: Config, arm: str) -> Config:
    """What a curve is of: the arm, those that share its adapter, whose first one says how it is prompted, and those
    that are not trained. Test questions and the race over them have no part in it.
    """
    adapter = config.arms[arm].adapter
    plain = {name: spec for name, spec in config.arms.items() if not spec.proposers}
    arms = {name: spec for name, spec in plain.items() if spec.adapter in (None, adapter)}
    adapters = {name: spec for name, spec in config.adapters.items() if name == adapter}
    usual = type(config.eval)()
    speeds = {key: getattr(usual, key) for key in ("concurrency", "patience_s", "first_token_probes")}
    evaluation = replace(config.eval, labels=None, **speeds)
    limits = replace(config.limits, questions=None)
    engine = replace(config.engine, max_loras=type(config.engine)().max_loras, max_lora_rank=None)
    changes = {"arms": arms, "adapters": adapters, "eval": evaluation, "limits": limits, "race": None, "engine": engine}
    return config.model_copy(update=changes)


def _content(data: Data) -> str:
    examples, dev = ([row.content for row in rows] for rows in (data.examples, data.dev))
    return content_hash(*map(repr, data.documents), *examples, repr("dev"), *dev)
