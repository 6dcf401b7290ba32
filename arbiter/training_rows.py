"""The rows of a training, as its objective learns them: those to train on, and those that it is measured on.

rows = rows_of(config, "polite", data, documents, base.path, scoring)
rows.training, rows.dev, rows.guard, rows.held_out, rows.worth
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from arbiter import build
from arbiter.config.schema import Config
from arbiter.data import Data
from arbiter.learned import learned_part
from arbiter.scoring import Scoring
from eval.metrics.catalogue import metrics_of
from eval.metrics.ragas import JUDGE_METRICS
from rag.documents.document import Document
from rag.index import Index
from storage.hashes import content_hash
from tuning.automatic import settled
from tuning.data.examples import Question, sample
from tuning.data.feedback import prompt_key
from tuning.data.pairs import PreferencePair
from tuning.data.rows import PairRow, RatedRow, Row, TrainingRow, closed_book_rows
from tuning.errors import TuningError
from tuning.objectives.drawn import DrawnSettings
from tuning.objectives.preference import PreferenceSettings
from tuning.objectives.pretraining import Pretraining, document_windows
from tuning.recipe import CheckRows, Recipe, Worth, known
from tuning.training.start import settle

# A document has so many letters for each of its tokens, about, until it is read.
_LETTERS = 4
# So many pairs are ranked before and after a training unless told: 200 tell a share to 7 points. A pair that is ranked
# is read twice, and one that is learned at least twice an epoch, forward and backward.
_MOST_MEASURED, _FEWEST_MEASURED, _MEASURED_SHARE = 200, 10, 0.5


@dataclass(frozen=True, slots=True)
class Rows:
    """As `train_adapter` takes them; `notes` say what of the data is not used."""

    training: Sequence[Row]
    dev: CheckRows | None = None
    guard: CheckRows | None = None
    held_out: CheckRows | None = None
    notes: tuple[str, ...] = ()
    worth: Worth | None = None


def count_rows(name: str, recipe: Recipe, data: Data) -> int:
    """How many rows the training of the adapter of this key has; of documents about."""
    match learned_part(recipe):
        case "examples":
            return len(data.examples) + len(data.mixed.get(name, ()))
        case "documents":
            assert isinstance(recipe.objective, Pretraining)
            step = _LETTERS * (recipe.objective.window - recipe.objective.overlap)
            return sum(len(document.text) // step + 1 for document in data.documents)
        case part:
            return len(data.preferences.pairs if part == "pairs" else data.preferences.rated)


def settle_adapters(config: Config, data: Data, home: Path) -> Config:
    """The config with the numbers that its adapters leave open, of trainings on all rows of the data."""
    trained = home / "adapters"
    adapters = {
        name: settle(recipe, count_rows(name, recipe, data), trained) for name, recipe in config.adapters.items()
    }
    return config.model_copy(update={"adapters": adapters})


def rows_of(
    config: Config, name: str, data: Data, documents: Index | None, base_path: str, scoring: Callable[[], Scoring]
) -> Rows:
    """The rows of the adapter of this key. Raises TuningError where there are none to look at it with."""
    recipe = config.adapters[name]
    guard = _examples(config, name, data.guard, documents, scoring)
    match learned_part(recipe):
        case "examples":
            training = examples_rows(config, name, data, documents)
            dev = _examples(config, name, data.dev, documents, scoring)
            examples = (*data.examples, *data.mixed.get(name, ()))
            return Rows(training, dev, guard, worth=_worth(config, name, examples, scoring))
        case "documents":
            windows, dev = _windows(recipe, data.documents, base_path)
            rows = Rows(windows, dev, guard)
        case _:
            rows = _preferences(config, name, data, documents, guard)
    if recipe.has_looks and rows.dev is None:
        raise TuningError(
            f"adapters.{name} is looked at while it trains (keep, patience), and nothing is left to look with; raise "
            f"adapters.{name}.objective.held_out, or set keep to last and patience to 0"
        )
    return rows


def examples_rows(config: Config, name: str, data: Data, documents: Index | None) -> list[TrainingRow]:
    """The examples that the adapter of this key learns, those of other folders behind its own, as its arm asks them;
    of those nothing is retrieved, since their documents are elsewhere.
    """
    own = build.training_rows(config, name, data.examples, documents)
    prompt = config.all_prompts[build.arms_of(config, name)[0].prompt]
    return [*own, *closed_book_rows(data.mixed.get(name, ()), prompt.render)]


def _preferences(config: Config, name: str, data: Data, documents: Index | None, guard: CheckRows | None) -> Rows:
    recipe = config.adapters[name]
    assert isinstance(recipe.objective, PreferenceSettings)
    parts = data.preferences.divided(recipe.objective.held_out, needs_dev=recipe.has_looks)

    def pair_rows(pairs: Sequence[PreferencePair]) -> list[PairRow]:
        prompts = build.prompts_of(config, name, [pair.prompt for pair in pairs], documents)
        return [PairRow(prompt, pair.chosen, pair.rejected) for prompt, pair in zip(prompts, pairs, strict=True)]

    def checks(pairs: Sequence[PreferencePair]) -> CheckRows | None:
        return CheckRows(pair_rows(pairs), "preference") if pairs else None

    training: Sequence[Row]
    if learned_part(recipe) == "pairs":
        training = pair_rows(parts.pairs)
    else:
        prompts = build.prompts_of(config, name, [one.prompt for one in parts.rated], documents)
        rated = zip(prompts, parts.rated, strict=True)
        training = [RatedRow(prompt, one.answer, one.is_wanted) for prompt, one in rated]
    measured = measured_pairs(parts.held_out, recipe, len(training), seed=config.seed)
    notes = tuple[str, ...]()
    if len(measured) < len(parts.held_out):
        notes = (
            f"{len(measured)} of the {len(parts.held_out)} held-out pairs are ranked before and after the training; "
            f"adapters.{name}.objective.measured_pairs={len(parts.held_out)} ranks all",
        )
    return Rows(training, checks(sample(parts.dev, recipe.look_rows, config.seed)), guard, checks(measured), notes)


def measured_pairs(
    pairs: Sequence[PreferencePair], recipe: Recipe, num_rows: int, *, seed: int
) -> tuple[PreferencePair, ...]:
    """Those of the held-out pairs that a training on so many rows is measured on, the same ones always: of as many
    prompts as there may be, since pairs of one prompt are no independent evidence.
    """
    assert isinstance(recipe.objective, PreferenceSettings)
    learned = num_rows * known(settled(recipe, num_rows).epochs)
    affordable = max(round(_MEASURED_SHARE * learned), _FEWEST_MEASURED)
    asked = recipe.objective.measured_pairs
    most = asked if asked is not None else min(affordable, _MOST_MEASURED)
    if len(pairs) <= most:
        return tuple(pairs)
    firsts = {prompt_key(pair.prompt): pair for pair in reversed(pairs)}
    alone = [pair for pair in pairs if firsts[prompt_key(pair.prompt)] is pair]
    more = [pair for pair in pairs if firsts[prompt_key(pair.prompt)] is not pair]
    taken = {*map(id, sample(alone, most, seed)), *map(id, sample(more, max(most - len(alone), 0), seed))}
    return tuple(pair for pair in pairs if id(pair) in taken)


def _worth(config: Config, name: str, examples: Sequence[Question], scoring: Callable[[], Scoring]) -> Worth | None:
    """The metric that decides, for what draws its answers and names no reward model; a judge would be asked of each."""
    metric, objective = config.policy.metric, config.adapters[name].objective
    if not isinstance(objective, DrawnSettings) or any(one in JUDGE_METRICS for one in metrics_of(metric)):
        return None

    def score(places: Sequence[int], answers: Sequence[str]) -> Sequence[float]:
        return scoring().score_texts([examples[place] for place in places], answers)

    return Worth(str(metric), score)


def _windows(recipe: Recipe, documents: Sequence[Document], base_path: str) -> tuple[Sequence[Row], CheckRows | None]:
    """Of the documents that are learned, and of those that it is looked at with, the same ones always."""
    from tuning.training.libraries import quiet
    from tuning.training.loading import load_tokenizer

    numbers = recipe.objective
    assert isinstance(numbers, Pretraining)
    with quiet():
        tokenizer = load_tokenizer(base_path)

        def windows(some: Iterable[Document]) -> list[Row]:
            texts = (one.text if one.text.startswith(one.title) else f"{one.title}\n\n{one.text}" for one in some)
            return [*document_windows(texts, tokenizer, numbers)]

        if not recipe.has_looks:
            return windows(documents), None
        # One at least, where there is more than one.
        count = max(round(numbers.held_out * len(documents)), 1) if numbers.held_out and len(documents) > 1 else 0
        by_hash = sorted(documents, key=lambda one: content_hash("held out", one.id))
        taken = {one.id for one in by_hash[:count]}
        looked_at = sample(windows(one for one in documents if one.id in taken), recipe.look_rows, recipe.seed)
        learned = windows(one for one in documents if one.id not in taken)
    return learned, CheckRows(looked_at, "probability") if looked_at else None


def _examples(
    config: Config,
    name: str,
    questions: Sequence[Question],
    documents: Index | None,
    scoring: Callable[[], Scoring],
) -> CheckRows | None:
    """A sample of questions that the training is looked at with, scored by what decides."""
    spec, metric = config.adapters[name], config.policy.metric
    asked = sample(questions, spec.look_rows, config.seed)
    if not asked or not spec.has_looks:
        return None
    rows = build.check_rows(config, name, asked, documents)
    if any(one in JUDGE_METRICS for one in metrics_of(metric)):
        return CheckRows(rows)  # a judge would be asked at every look
    return CheckRows(rows, str(metric), partial(scoring().score_texts, asked))
