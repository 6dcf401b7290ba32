"""Questions with the documents that answer them: `load_judged(Path("questions.jsonl"))`.

Answers are not needed here, so a file of questions and document ids is enough.
"""

from __future__ import annotations

from pathlib import Path

from eval.errors import EvalError, listed
from eval.questions import Question, as_question, merge_repeats
from tuning.data.examples import scan_examples


def load_judged(path: Path) -> tuple[Question, ...]:
    """Questions from rows as `eval.questions.load_questions` reads them; what is asked twice is one question.

    Raises EvalError naming file and line of every faulty row (the first ten), and when there is no question at all; the
    reader's own error where the file cannot be opened.
    """
    rows = list(scan_examples(path, needs_answers=False))
    faults = [f"line {line}: {row}" for line, row in rows if isinstance(row, str)]
    if faults:
        raise EvalError(f"{path}: {len(faults)} faulty questions: {listed(faults)}")
    if not rows:
        raise EvalError(f'{path} holds no questions; add rows like {{"question": ..., "doc_ids": [...]}}')
    return merge_repeats([as_question(row) for _, row in rows if not isinstance(row, str)])[0]
