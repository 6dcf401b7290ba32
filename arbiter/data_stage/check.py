"""`arbiter data check`: everything that is known about a data folder, and what of it a run would refuse.

shown, faults = check_data(pipeline, terms=GENDER, has_forecast=False)
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arbiter import build
from arbiter.check import find_faults
from arbiter.console import Output
from arbiter.data import Faults, find_folder
from arbiter.data_stage.facts import (
    Fact,
    PartRows,
    bias_of,
    contradictions_of,
    labels_fact,
    leaks_of,
    lengths_of,
    personal_data_of,
    read_part,
    repeats_of,
)
from arbiter.data_stage.preview import adapter_of, load_tokenizer
from arbiter.data_stage.wording import as_table
from arbiter.pipeline import Pipeline
from storage.encoding import decode
from storage.errors import ArbiterError, reason_of
from tuning.data.bias import Terms
from tuning.data.feedback import load_feedback
from tuning.data.layouts import Part, find_part
from tuning.data.pii import KINDS, PiiFinder
from tuning.errors import TuningError
from tuning.training.power import Draw, draw_of

_PARTS: tuple[Part, ...] = ("train", "questions", "test", "dev", "guard")
# Rows are trained on, or split into such; the other parts are asked.
_TRAINED = ("train", "questions")


def check_data(pipeline: Pipeline, *, terms: Terms, has_forecast: bool = False) -> tuple[Output, list[str]]:
    """A table with a JSON value, and what a run would refuse; nothing is converted, downloaded or trained, but for
    the few steps that a forecast times. Faulty parts are shown as far as they can be read.
    """
    config, console = pipeline.config, pipeline.console
    folder, faults = find_folder(config.data), Faults()
    checked = find_faults(pipeline, faults)
    parts = {part.name: part for part in _read_parts(folder, config.limits.columns, faults)}
    feedback = _feedback(folder, config.limits.columns, faults)
    fact: Fact = {"folder": str(folder), "parts": [part.fact for part in parts.values()]}
    fact["feedback"] = feedback
    fact["labels"] = {name: found for name, part in parts.items() if (found := labels_fact(part.questions))}
    fact["repeats"] = {}
    for name, part in parts.items():
        with console.step(f"comparing {len(part.rows)} {name} rows") as step:
            fact["repeats"][name] = repeats_of(part.rows, step.update)
    fact["contradictions"] = {name: contradictions_of(part.rows) for name, part in parts.items()}
    fact["leaks"] = [
        {"part": name, "of": of, **leaks_of(parts[name].questions, parts[of].questions)}
        for name, of in (("train", "test"), ("train", "dev"), ("dev", "test"), ("guard", "test"))
        if name in parts and of in parts
    ]
    trained = next((parts[name] for name in _TRAINED if name in parts), None)
    if trained is not None and trained.rows:
        fact["tokens"] = _tokens(pipeline, trained, faults)
        fact["bias"] = bias_of(trained.questions, terms)
    fact["personal_data"] = _personal_data(pipeline, parts)
    fact["forecast"] = _forecast(pipeline) if has_forecast and not faults.found else {}
    fact["notes"] = [*checked[0].notes, *checked[2]] if checked is not None else []
    fact["faults"] = [" ".join(str(fault).split()) for fault in faults.found]
    return (as_table(fact), fact), fact["faults"]


def read_terms(path: Path) -> Terms:
    """Words of two groups out of a CSV file: a column a group, named in the first row, and a pair in each that follows.

    Raises ArbiterError for anything else.
    """
    try:
        rows = [[cell.strip().casefold() for cell in row] for row in csv.reader(decode(path.read_bytes()).splitlines())]
    except OSError as error:
        raise ArbiterError(f"cannot read {str(path)!r}: {reason_of(error)}") from error
    except csv.Error as error:
        raise ArbiterError(f"{str(path)!r} is no CSV file ({error}); write a pair of words a line") from error
    rows = [row for row in rows if any(row)]
    wrong = next((number for number, row in enumerate(rows, start=1) if len(row) != 2 or not all(row)), None)
    if wrong is not None or len(rows) < 2:
        where = f"row {wrong} of {str(path)!r}" if wrong is not None else f"{str(path)!r}"
        raise ArbiterError(f"{where} is no pair; write the two groups, and below them a pair of words a line: she,he")
    (first, second), *pairs = rows
    return Terms((first, second), tuple((one, other) for one, other in pairs))


def _read_parts(folder: Path, columns: Mapping[str, str], faults: Faults) -> list[PartRows]:
    """What lies in the folder; what cannot be found out of its layout is a fault already."""
    found: list[PartRows] = []
    for part in _PARTS:
        path = Faults().attempt(lambda part=part: find_part(folder, part), None)  # type: ignore[misc]
        if path is not None and not (part == "questions" and any(one.name == "test" for one in found)):
            found.append(read_part(part, path, columns))
    if not found and not faults.found:
        faults.found.append(
            ArbiterError(
                f"data folder {str(folder)!r} holds no rows; add train.jsonl and test.jsonl, or have questions made "
                "from its documents with: arbiter data generate"
            )
        )
    return found


def _feedback(folder: Path, columns: Mapping[str, str], faults: Faults) -> Fact:
    """The preferences of pairs.*, which no other part holds; nothing without the file."""
    path = Faults().attempt(lambda: find_part(folder, "pairs"), None)
    if path is None:
        return {}
    said, own = list[str](), Faults()
    found = own.attempt(lambda: load_feedback(path, columns, say=said.append), None)
    if found is None:
        # A training that learns from them has said the same.
        known = " ".join(map(str, faults.found))
        faults.found += [fault for fault in own.found if str(fault) not in known]
        return {"file": path.name, "faults": [" ".join(str(fault).split()) for fault in own.found]}
    return {"file": path.name, "pairs": len(found.pairs), "rated": len(found.rated), "said": said}


def _tokens(pipeline: Pipeline, part: PartRows, faults: Faults) -> Fact:
    """The lengths of rows without passages; why they are not known where the base model is not here."""
    try:
        name = adapter_of(pipeline, None)
        spec = pipeline.config.adapters[name]
        if spec.passages:
            return {"unknown": f"the rows of {name} have passages; arbiter data preview shows them"}
        if not pipeline.find_base(fetch=False).path:
            return {"unknown": f"model {pipeline.config.model} is not on this disk; a first run fetches or converts it"}
        rows = build.training_rows(pipeline.config, name, part.questions, None)
        fact = lengths_of(part.rows, rows, load_tokenizer(pipeline), spec.max_length)
    except ArbiterError as error:
        return {"unknown": str(error)}
    faults.found += [ArbiterError(f"{part.fact['file']}: {reason}") for reason in fact["refused"]]
    if fact["over"] == len(part.rows):
        faults.found.append(
            ArbiterError(f"all {len(part.rows)} rows are longer than adapters.{name}.max_length ({spec.max_length})")
        )
    return {"adapter": name, **fact}


def _personal_data(pipeline: Pipeline, parts: Mapping[str, PartRows]) -> Fact:
    try:
        with pipeline.console.step("loading what finds personal data"):
            finder = PiiFinder(KINDS)
    except TuningError as error:
        return {"unknown": str(error)}
    found: dict[str, Any] = {"name_models": list(finder.name_models)}
    for name, part in parts.items():
        with pipeline.console.step(f"looking for personal data in {len(part.rows)} {name} rows") as step:
            found[name] = personal_data_of(part.rows, finder, step.update)
    return found


def _forecast(pipeline: Pipeline) -> Fact:
    """Seconds, energy and price of each training; of one that exists nothing."""
    from tuning.training.loading import device  # brings torch

    config = pipeline.config
    draw = draw_of(device()) if config.energy.power_w is None else Draw(config.energy.power_w, "energy.power_w")
    trainings: dict[str, Any] = {}
    for name, found in pipeline.forecast().items():
        if found is None or isinstance(found, str):
            trainings[name] = {"note": found or "is trained"}
            continue
        hours = found.seconds / 3600
        trainings[name] = {
            "seconds": round(found.seconds, 1),
            "memory_bytes": found.memory_bytes,
            "kwh": None if draw is None else hours * draw.watts / 1000,
            "cost": hours * config.policy.prices.training_hour,
        }
    return {"power_w": draw and draw.watts, "power_from": draw and draw.source, "trainings": trainings}
