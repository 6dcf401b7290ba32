"""A finished run in the files of other evaluation tools: ragas, RAGChecker and lm-evaluation-harness.

export_run(run, Path("exported"), format="ragas", documents={"desk": "The loan desk opens at nine."})
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from eval.answers import AnswerRecord
from eval.errors import EvalError
from eval.questions import Question, as_row
from eval.runs.run import Run
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard
from storage.folders import write_files
from storage.records import json_lines

ExportFormat = Literal["ragas", "ragchecker", "lm-eval"]

Rows = list[dict[str, object]]
Answered = Sequence[tuple[Question, AnswerRecord]]

_UNSAFE = re.compile(r"[^\w.-]+")
# lm_eval.utils.sanitize_model_name and sanitize_task_name
_UNSAFE_MODEL = re.compile(r"[\"<>:/|\\?*\[\]]+")
_UNSAFE_TASK = re.compile(r"\W")
# The name of lm-eval's filter that leaves answers as they are.
_NO_FILTER = "none"


def export_run(
    run: Run,
    folder: Path,
    *,
    format: ExportFormat,
    arms: Sequence[str] = (),
    documents: Mapping[str, str] | None = None,
    is_forced: bool = False,
) -> tuple[tuple[Path, ...], list[str]]:
    """Write a run's answers, every arm's or those of `arms`, in another tool's files; failed answers are left out.
    Gives the files that were written, and what is not in them, a line each.

    ragas: `<arm>.jsonl`, for `EvaluationDataset.from_jsonl`. RAGChecker: `<arm>.json`. lm-eval: a folder an arm with
    `results_<date>.json` and `samples_<task>_<date>.jsonl`. `documents` maps document ids to texts; without them ragas
    rows have no reference contexts. Raises EvalError for an unknown arm, StorageError for files that are there already.
    """
    scorecard, questions, records = run.scorecard(), run.questions(), run.records()
    names = [scores.arm.name for scores in scorecard.arms]
    unknown = [name for name in arms if name not in names]
    if unknown:
        raise EvalError(f"run {run.id!r} has no arm {unknown[0]!r}; it has {', '.join(names)}")
    given = {(record.arm, record.question_id): record for record in records}
    files: dict[str, str] = {}
    notes: list[str] = []
    for scores in (scores for scores in scorecard.arms if not arms or scores.arm.name in arms):
        arm = scores.arm
        kept = [(question, given[arm.name, question.id]) for question in questions if (arm.name, question.id) in given]
        answered = [(question, record) for question, record in kept if record.error is None]
        if len(answered) < len(kept):
            notes.append(f"failed answers of {arm.name}, left out: {len(kept) - len(answered)}")
        stem = _UNSAFE.sub("_", arm.name)
        if format == "ragas":
            files[f"{stem}.jsonl"] = json_lines(ragas_rows(arm, answered, documents or {}))
        elif format == "ragchecker":
            results = {"results": ragchecker_rows(arm, answered)}
            files[f"{stem}.json"] = json.dumps(results, ensure_ascii=False, indent=2)
        else:
            files |= lm_eval_files(run, scorecard, scores, answered)
    return write_files(folder, files, is_forced=is_forced), notes


def ragas_rows(arm: Arm, answered: Answered, documents: Mapping[str, str]) -> Rows:
    """Rows of `ragas.SingleTurnSample`; `id`, `references` (where there are several golds) and `metadata` come on top.

    The contexts of arms that retrieve documents are their passages; reference contexts are whole gold documents, left
    out where the text of one is not known.
    """
    rows: Rows = []
    for question, record in answered:
        golds, gold_ids = list(question.answers), list(question.document_ids)
        has_texts = bool(gold_ids) and documents.keys() >= set(gold_ids)
        row = {
            "id": question.id,
            "user_input": question.in_full,
            "response": record.text,
            "reference": golds[0],
            "references": golds if len(golds) > 1 else None,
            "retrieved_contexts": list(record.passages) if arm.reads_documents else None,
            "retrieved_context_ids": list(record.passage_documents) if arm.reads_documents else None,
            "reference_contexts": [documents[name] for name in gold_ids] if has_texts else None,
            "reference_context_ids": gold_ids or None,
            "metadata": dict(question.metadata) or None,
        }
        rows.append({column: value for column, value in row.items() if value is not None})
    return rows


def ragchecker_rows(arm: Arm, answered: Answered) -> Rows:
    """Rows of RAGChecker's `RAGResult`; `gt_answers` (where there are several golds) comes on top."""
    rows: Rows = []
    for question, record in answered:
        passages = zip(record.passage_documents, record.passages, strict=False) if arm.reads_documents else ()
        rows.append(
            {
                "query_id": question.id,
                "query": question.in_full,
                "gt_answer": question.answers[0],
                "response": record.text,
                "retrieved_context": [{"doc_id": name, "text": text} for name, text in passages],
                **({"gt_answers": list(question.answers)} if len(question.answers) > 1 else {}),
            }
        )
    return rows


def lm_eval_files(run: Run, scorecard: Scorecard, scores: ArmScores, answered: Answered) -> dict[str, str]:
    """The two files that `lm_eval --log_samples` writes for a model, as texts by their paths.

    The layout is that of lm_eval/loggers/evaluation_tracker.py, 0.4.9. `arguments` hold the conversation that the
    serving path was given; it renders the passages in `retrieved_contexts` into it.
    """
    arm, sampling = scores.arm, scores.arm.sampling.options()
    # The last part of a run's id hashes config and data; what is before it names the data.
    task = _UNSAFE_TASK.sub("_", run.id.rpartition("-")[0] or run.id)
    model = _UNSAFE_MODEL.sub("__", arm.name)
    finished = run.finished_at or 0.0
    date = datetime.datetime.fromtimestamp(finished, tz=datetime.UTC).replace(tzinfo=None).isoformat().replace(":", "-")
    places = {name: place for place, name in enumerate(scorecard.question_ids)}
    samples = [_sample(scores, places[question.id], question, record) for question, record in answered]
    columns = scores.scores.items()
    measured = {name: known for name, values in columns if (known := [v for v in values if v is not None])}
    means: dict[str, object] = {"alias": task}
    for name, values in measured.items():
        means[f"{name},{_NO_FILTER}"] = statistics.fmean(values)
        # lm-eval's mean_stderr: of independent questions, unlike the clustered intervals of a scorecard.
        spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else "N/A"
        means[f"{name}_stderr,{_NO_FILTER}"] = spread
    num_fewshot = arm.top_k if arm.index is not None and arm.prompt.passages == "turns" else 0
    hashes = "".join(f"{sample['doc_hash']}{sample['prompt_hash']}{sample['target_hash']}" for sample in samples)
    of_task = {
        "results": means,
        "group_subtasks": [],
        "configs": {
            "task": task,
            "output_type": "generate_until",
            "description": arm.prompt.system,
            "num_fewshot": num_fewshot,
            "generation_kwargs": sampling,
            "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in measured],
            "metadata": {"primary": scorecard.primary, "arm": asdict(arm)},
        },
        "versions": str(run.manifest.get("data_version", "")),
        "n-shot": num_fewshot,
        "higher_is_better": dict.fromkeys(measured, True),
        "n-samples": {"original": len(scorecard.question_ids), "effective": len(samples)},
        "task_hashes": _hash(hashes),
    }
    results = {
        **{key: {task: value} for key, value in of_task.items()},
        "config": {
            "model": "arbiter",
            "model_args": {"arm": arm.name, "adapter": arm.adapter, "index": arm.index, "top_k": arm.top_k},
            "model_revision": run.manifest.get("base_revision"),
            "gen_kwargs": sampling,
            "limit": None,
            "random_seed": arm.sampling.seed,
        },
        "date": finished,
        "model_source": "arbiter",
        "model_name": arm.name,
        "model_name_sanitized": model,
        "system_instruction": arm.prompt.system,
        "total_evaluation_time_seconds": str(scorecard.evaluation_s),
        "provenance": dict(scorecard.provenance),
    }
    return {
        f"{model}/samples_{task}_{date}.jsonl": json_lines(samples),
        f"{model}/results_{date}.json": json.dumps(results, ensure_ascii=False, indent=2),
    }


def _sample(scores: ArmScores, place: int, question: Question, record: AnswerRecord) -> dict[str, object]:
    known = {name: score for name, values in scores.scores.items() if (score := values[place]) is not None}
    doc = as_row(question)
    # lm-eval writes every target as text; a list of golds too.
    target = question.answers[0] if len(question.answers) == 1 else str(list(question.answers))
    prompt = json.dumps(scores.arm.prompt.render(question.messages, ()), ensure_ascii=False)
    return {
        "doc_id": place,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": scores.arm.sampling.options()}},
        "resps": [[record.text]],
        "filtered_resps": [record.text],
        "filter": _NO_FILTER,
        "metrics": list(known),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(target),
        **known,
        "retrieved_contexts": list(record.passages),
        "retrieved_context_ids": list(record.passage_documents),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
