"""`arbiter data preview`: which tokens of a row are trained, in the words of the base model's chat template.

text, shown, is_refused = preview_rows(pipeline, lines=[3], is_coloured=False)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from arbiter import build
from arbiter.console import Output
from arbiter.data_stage.source import open_source
from arbiter.pipeline import Pipeline
from storage.errors import ArbiterError, listed
from tuning.errors import TuningError
from tuning.objectives.preview import Preview, look_at, unlearnable
from tuning.objectives.supervised import SUPERVISED

_GREEN, _PLAIN = "\033[32m", "\033[0m"


def preview_rows(
    pipeline: Pipeline, *, lines: Sequence[int] = (), first: int = 3, adapter: str | None = None, is_coloured: bool
) -> tuple[Output, list[str]]:
    """The rows on these lines of the training file, else the `first` ones, and a sentence for each that nothing is
    learned from. Trained text is coloured, or in [[brackets]].

    The prompt is that of the adapter, by default the first that sees no passages. One that sees some retrieves them,
    from an index that is made if need be. Raises ArbiterError for lines and adapters that are not there.
    """
    config = pipeline.config
    source = open_source(config.data, config, say=pipeline.console.say)
    chosen = [row for row in source.rows if row.line in lines] if lines else list(source.rows[:first])
    if missing := sorted({*lines} - {row.line for row in chosen}):
        known = f"{source.rows[0].line} to {source.rows[-1].line}"
        raise ArbiterError(
            f"{source.path.name} has no row on {listed(map(str, missing), separator=', ')}; rows are on {known}"
        )
    name = adapter_of(pipeline, adapter)
    documents = pipeline.indexes.get("documents") if config.adapters[name].passages else None
    tokenizer = load_tokenizer(pipeline)
    shown: list[dict[str, Any]] = []
    texts, refused = list[str](), list[str]()
    for row in chosen:
        (made,) = build.training_rows(config, name, [row.question], documents)
        try:
            encoded = SUPERVISED.encode(tokenizer, made)
            reason = unlearnable(tokenizer, encoded)
        except TuningError as error:
            refused.append(f"line {row.line}: {error}")
            continue
        if reason is not None:
            refused.append(f"line {row.line}: {reason}")
        seen = look_at(tokenizer, encoded)
        most = config.adapters[name].max_length
        is_long = encoded.num_tokens > most
        over = f", more than max_length ({most}): it is left out of the training" if is_long else ""
        head = (
            f"line {row.line}, {row.question.id}: {seen.num_trained} of {encoded.num_tokens} tokens are trained{over}"
        )
        texts.append(f"{head}\n{_marked(seen, is_coloured)}")
        shown.append(
            {
                "line": row.line,
                "id": row.question.id,
                "num_tokens": encoded.num_tokens,
                "num_trained": seen.num_trained,
                "is_too_long": is_long,
                "refused": reason,
                "text": _marked(seen, is_coloured=False),
                "tokens": [asdict(token) for token in seen.tokens],
            }
        )
    value = {"file": str(source.path), "adapter": name, "rows": shown, "refused": refused}
    return ("\n\n".join(texts), value), refused


def adapter_of(pipeline: Pipeline, name: str | None) -> str:
    """The key of the adapter in whose words rows are shown. Raises ArbiterError where some arm uses none of this."""
    used = build.used_adapters(pipeline.config)
    if name is None:
        name = next((key for key, spec in used.items() if not spec.passages), next(iter(used), None))
    if name is None or name not in used:
        known = ", ".join(used) or "none"
        raise ArbiterError(f"no arm answers with an adapter {name!r}; there is {known}")
    return name


def load_tokenizer(pipeline: Pipeline) -> Any:
    """The base model's. Raises ArbiterError where it cannot be had, or has no chat template."""
    from transformers import AutoTokenizer

    from tuning.training.loading import load_pretrained

    base = pipeline.find_base()
    if not base.path:
        raise ArbiterError(f"model {base.name!r} is at {pipeline.config.engine.url}, so its tokenizer is not here")
    tokenizer = load_pretrained(AutoTokenizer, base.path)
    if tokenizer.chat_template is None:
        raise ArbiterError(f"model {base.name!r} has no chat template; take one that was trained to chat")
    return tokenizer


def _marked(seen: Preview, is_coloured: bool) -> str:
    opened, closed = (_GREEN, _PLAIN) if is_coloured else ("[[", "]]")
    return "".join(f"{opened}{text}{closed}" if is_trained else text for text, is_trained in seen.pieces)
