"""`arbiter data split | dedupe | balance | select | mask`: rows of a folder or a file into a new folder.

console.result(*dedupe(job, nearly=True))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arbiter import build
from arbiter.config.schema import Config
from arbiter.console import Console, Output
from arbiter.data_stage.result import Made, Written, refuse_target, write_result
from arbiter.data_stage.source import LeftOut, Source, SourceRow, open_source
from eval.metrics.labels import labels_of
from eval.question_sets import make_sets
from eval.questions import share_golds, split_by_document
from eval.repeats import find_exact_repeats, find_near_repeats, find_repeats
from storage.errors import ArbiterError, listed
from tuning.data.balance import How, balance
from tuning.data.examples import scan_examples
from tuning.data.layouts import Part, find_part
from tuning.data.pii import KINDS, Kind, Masker, PiiFinder
from tuning.data.quality import faults_of
from tuning.data.selection import select
from tuning.data.table_files import read_table, shards_of

_SHOWN_LABELS = 20


@dataclass(frozen=True)
class Job:
    """What every transform is told: where the rows are and go, the config, and the command line for provenance."""

    source: Path
    target: Path
    config: Config
    home: Path
    console: Console
    command: str
    is_forced: bool = False

    def open(self, *, is_split: bool = False) -> Source:
        """The rows. Raises ArbiterError for what is wrong with them, or with where they are to go."""
        source = open_source(self.source, self.config, say=self.say, is_split=is_split)
        refuse_target(source, self.target, is_forced=self.is_forced)
        return source

    def say(self, note: str) -> None:
        """A note that goes by."""
        self.console.say(f"note: {note}")

    def write(
        self,
        source: Source,
        parts: Mapping[str, Sequence[Written]],
        removed: Iterable[LeftOut],
        settings: Mapping[str, object],
        notes: Iterable[str],
        *,
        is_drawn: bool = True,
        replaced: Sequence[Path] = (),
    ) -> Output:
        """The new folder; `is_drawn` says whether the seed had a part in it."""
        made = Made(self.command, settings, self.config.seed if is_drawn else None, tuple(notes))
        lost = sorted(removed, key=lambda one: one.line)
        return write_result(
            source, self.target, parts, lost, made, replaced=replaced, is_forced=self.is_forced, console=self.console
        )


def split(job: Job, *, test: float, dev: float = 0.0, by_document: bool = True) -> Output:
    """Training rows and evaluation questions, and dev questions if a share of them is wanted, out of one file: rows
    that share a document, or ask the same, stay together, and every part has its share of each label as far as they
    allow. Raises ArbiterError where there are too few documents.
    """
    if not 0 < test + dev < 1:
        raise ArbiterError(f"--test {test:g} and --dev {dev:g} must leave rows to train on: add up to less than 1")
    source = job.open(is_split=True)
    rows = source.questions
    if any(row.rejected for row in source.rows):
        rows = share_golds(rows)  # what was chosen elsewhere for a prompt contradicts nothing
    asked = rows if by_document else tuple(replace(row, document_ids=()) for row in rows)
    labels = labels_of(rows)
    shares = (1 - test - dev, test, *((dev,) if dev else ()))
    train_rows, test_rows, *more = split_by_document(asked, shares, seed=job.config.seed, labels=labels)
    sets, notes = make_sets(test_rows, train_rows, more[0] if more else ())
    if any(labels):
        label_of = dict(zip((row.id for row in rows), labels, strict=True))
        known = {label_of.get(row.id) for row in train_rows}
        unseen = sorted({label for row in test_rows if (label := label_of[row.id]) and label not in known})
        if unseen:
            hint = "; --ignore-documents splits row by row" if by_document else ""
            names = listed(unseen, separator=", ")
            why = "since documents are kept whole" if by_document else "for they are rare"
            notes += (f"labels that no training row has, {why}{hint}: {names}",)
    by_id = {row.question.id: row for row in source.rows}
    ids = {
        part: [row.id for row in found]
        for part, found in (("train", sets.examples), ("test", sets.questions), ("dev", sets.dev))
        if found
    }
    kept = {name for found in ids.values() for name in found}
    gone = [
        _left_out(row, "asks what a question of another part asks") for name, row in by_id.items() if name not in kept
    ]
    parts = {part: [_written(by_id[name]) for name in found] for part, found in ids.items()}
    settings = {"test": test, "dev": dev, "by_document": by_document}
    told = [*notes, *_shares_of_labels(ids, dict(zip(by_id, labels, strict=True)))]
    return job.write(source, parts, gone, settings, told)


def dedupe(job: Job, *, nearly: bool = True) -> Output:
    """Every row once: without those that repeat an earlier one with an answer in common, or ask what an evaluation or
    dev question asks.
    """
    source = job.open()
    rows, reasons = source.questions, dict[int, str]()
    for part, asked in source.asked(job.config).items():
        called = "an evaluation question" if part == "test" else "a dev question"
        found: Mapping[str, object] = find_exact_repeats(rows, asked)
        near: Mapping[str, object] = find_near_repeats(rows, asked) if nearly else {}
        for place, row in enumerate(rows):
            if row.id in found:
                reasons.setdefault(place, f"asks {called}")
            elif row.id in near:
                reasons.setdefault(place, f"nearly asks {called} with an answer in common")
    labels = labels_of(rows)
    of_label = Counter(label for place, why in reasons.items() if "nearly" in why and (label := labels[place]))
    left = [place for place in range(len(rows)) if place not in reasons]
    with job.console.step(f"comparing {len(left)} rows") as step:
        beside = [source.rows[place].rejected for place in left]
        repeats = find_repeats([rows[place] for place in left], nearly=nearly, beside=beside, progress=step.update)
    for repeat in repeats:
        place = left[repeat.place]
        reasons[place] = "repeats an earlier row" if repeat.is_exact else "nearly repeats an earlier row"
        if not repeat.is_exact and (label := labels[place]) is not None:
            of_label[label] += 1
    if len(reasons) == len(rows):
        raise ArbiterError(f"{source.path}: every row gives an evaluation question away; give other rows")
    notes = [f"near repeats of each label: {_counted(of_label)}"] if of_label else []
    kept = [_written(row) for place, row in enumerate(source.rows) if place not in reasons]
    gone = [_left_out(source.rows[place], reason) for place, reason in reasons.items()]
    return job.write(source, {source.part: kept}, gone, {"nearly": nearly}, notes, is_drawn=False)


def balance_labels(job: Job, how: How, *, rows: int | None = None) -> Output:
    """As many rows of one label as of another. Raises ArbiterError where rows are repeated before they are split."""
    source = job.open()
    if how == "oversample" and "test" not in source.asked(job.config) and source.folder is not None:
        raise ArbiterError(
            f"{source.path.name} is split into training rows and evaluation questions by a run, and rows that are "
            "repeated before would be asked, too; first: arbiter data split"
        )
    labels = labels_of(source.questions)
    places = balance(labels, how, rows=rows, seed=job.config.seed)
    seen, written = Counter[int](), []
    for place in places:
        seen[place] += 1
        row = source.rows[place]
        again = {"id": f"{row.question.id}#{seen[place]}"} if seen[place] > 1 else {}
        written.append(Written(row.as_written() | again, row.line))
    before = Counter(label for label in labels if label is not None)
    after = Counter(label for place in places if (label := labels[place]) is not None)
    changes = [f"{label} {count} -> {after[label]}" for label, count in before.most_common()]
    notes = [f"rows of each label: {listed(changes, separator=', ', shown=_SHOWN_LABELS)}"]
    if without := labels.count(None):
        notes.append(f"{without} rows have no label and stay as they are")
    gone = [_left_out(row, "of a frequent label") for place, row in enumerate(source.rows) if place not in seen]
    settings = {"how": how, "rows": rows, "before": dict(before), "after": dict(after)}
    return job.write(source, {source.part: written}, gone, settings, notes)


def select_rows(job: Job, *, rows: int | None = None, share: float | None = None) -> Output:
    """Few rows that stand for all: of each cluster of embeddings the one with the fewest faults nearest its middle."""
    if (rows is None) == (share is None):
        raise ArbiterError("give either --rows or --share")
    source = job.open()
    questions = source.questions
    count = rows if rows is not None else max(1, round((share or 0) * len(questions)))
    labels = labels_of(questions)
    faults = [faults_of(question.text, question.answer) for question in questions]
    texts = [
        row.text if label is not None else f"{row.text}\n{row.answer}"
        for row, label in zip(questions, labels, strict=True)
    ]
    model = build.resolve_embedder(job.config, job.home, job.console.say)
    embedder = build.build_embedder(model, job.config.embedding)
    with job.console.step(f"embedding {len(texts)} rows") as step:
        vectors = embedder.embed(texts, progress=step.update)
    with job.console.step(f"choosing {count} of {len(texts)} rows"):
        chosen = select(
            vectors, count, labels=labels, num_faults=[len(found) for found in faults], seed=job.config.seed
        )
    kept = set(chosen.places)
    removed = []
    for place, row in enumerate(source.rows):
        if place not in kept:
            other = chosen.stands_for[place]
            reason = "another row stands for it" if other >= 0 else "there is no room for a row of its label"
            detail = {"stands_for_it": source.rows[other].question.id} if other >= 0 else {}
            removed.append(replace(_left_out(row, reason), detail=detail | {"faults": list(faults[place])}))
    num_faulty = sum(map(bool, faults))
    all_faults = Counter(fault for found in faults for fault in found)
    num_labels = len({label for label in labels if label is not None})
    how = f"k-means of the embeddings ({model.name}) of what rows {'ask' if num_labels else 'ask and answer'}"
    notes = [
        f"{how}: {count} clusters{f', in proportion over {num_labels} labels' if num_labels else ''}; of each the row "
        "with the fewest faults that is nearest to its middle",
        f"{num_faulty} of {len(questions)} rows have faults, of the chosen {sum(bool(faults[i]) for i in kept)}"
        + (f": {_counted(all_faults)}" if all_faults else ""),
    ]
    settings = {"rows": count, "embedder": model.label}
    return job.write(source, {source.part: [_written(source.rows[i]) for i in chosen.places]}, removed, settings, notes)


def mask_rows(job: Job, *, kinds: Sequence[Kind] = KINDS) -> Output:
    """Placeholders in the place of what points to persons, in every part that holds rows."""
    source = job.open()
    with job.console.step("loading what finds personal data"):
        masker = Masker(PiiFinder(kinds))
    masked, parts, replaced = Counter[str](), dict[str, list[Written]](), list[Path]()
    for part, rows in _all_rows(source, job.config, job.say, replaced):
        written = []
        with job.console.step(f"masking {len(rows)} {part} rows") as step:
            for done, before in enumerate(rows, start=1):
                after = replace(before, row=masker.mask_row(before.row))
                masked[part] += after != before
                written.append(after)
                step.update(done, len(rows))
        parts[part] = written
    # What is of no use to a training is written down, too.
    left_out = tuple(replace(one, row=masker.mask_row(one.row)) for one in source.left_out)
    notes = [
        f"masked: {_counted(masker.counts) or 'nothing was found'}",
        f"rows with something masked: {_counted(masked) or 'none'}",
        _of_names(masker, kinds),
        "ids, and documents that lie beside the rows, are as they were",
    ]
    settings = {"kinds": list(kinds), "masked": dict(masker.counts), "name_models": list(masker.finder.name_models)}
    return job.write(replace(source, left_out=left_out), parts, [], settings, notes, is_drawn=False, replaced=replaced)


def _all_rows(
    source: Source, config: Config, say: Callable[[str], object], replaced: list[Path]
) -> Iterable[tuple[str, Sequence[Written]]]:
    """The rows of every part, `replaced` getting the files of those that are no training rows."""
    yield source.part, [_written(row) for row in source.rows]
    parts: tuple[Part, ...] = ("test", "dev", "guard")
    for part in parts:
        if source.folder is None or (path := find_part(source.folder, part)) is None:
            continue
        found = scan_examples(path, needs_answers=False, columns=config.limits.columns, say=say)
        faulty = [str(line) for line, row in found.rows if isinstance(row, str)]
        if faulty:
            raise ArbiterError(f"{path}: {len(faulty)} faulty rows on {found.unit} {listed(faulty, separator=', ')}")
        replaced += shards_of(path)
        rows = [SourceRow(line, row, found.given[row.id]) for line, row in found.rows if not isinstance(row, str)]
        yield part, [_written(row) for row in rows]
    if source.folder is not None and (path := find_part(source.folder, "pairs")) is not None and path != source.path:
        # As they are: both answers of a pair, and those with a thumb down.
        raw = read_table(path)
        if faulty := [str(line) for line, row in raw.rows if isinstance(row, str)]:
            raise ArbiterError(f"{path}: {len(faulty)} faulty rows on {raw.unit} {listed(faulty, separator=', ')}")
        replaced += shards_of(path)
        yield "pairs", [Written(row, line) for line, row in raw.rows if not isinstance(row, str)]


def _of_names(masker: Masker, kinds: Sequence[Kind]) -> str:
    models = ", ".join(masker.finder.name_models)
    if models:
        return f"names were looked for with {models}"
    if "NAME" not in kinds:
        return "names were not looked for"
    return "names are NOT masked: no spaCy model is installed; for English: python -m spacy download en_core_web_sm"


def _written(row: SourceRow) -> Written:
    return Written(row.as_written(), row.line)


def _left_out(row: SourceRow, reason: str) -> LeftOut:
    return LeftOut(row.line, reason, row.as_written())


def _counted(counts: Mapping[Any, int]) -> str:
    ordered = Counter(counts).most_common()
    return listed((f"{name} {count}" for name, count in ordered), separator=", ", shown=_SHOWN_LABELS)


def _shares_of_labels(ids: Mapping[str, Sequence[str]], label_of: Mapping[str, str | None]) -> list[str]:
    """How many rows of each label every part has."""
    of_part = {part: Counter(label_of[name] for name in found) for part, found in ids.items()}
    names = [name for name, _ in Counter(label for label in label_of.values() if label is not None).most_common()]
    if not names:
        return []
    shown = (f"{name} {'/'.join(str(counts[name]) for counts in of_part.values())}" for name in names)
    return [f"rows of each label, {'/'.join(of_part)}: {listed(shown, separator=', ', shown=_SHOWN_LABELS)}"]
