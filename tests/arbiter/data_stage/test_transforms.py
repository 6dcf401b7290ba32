from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fakes.teams import DOCUMENTS, write_folder

from arbiter.data import load_data
from arbiter.data_stage.transforms import balance_labels, dedupe, mask_rows, select_rows, split
from storage.errors import ArbiterError, StorageError
from tests.arbiter.data_stage.conftest import ROWS, TEST, Jobs

LONG = "The transfer to my other account is still pending, and it was sent a week ago from the app on my phone"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [row["id"] for row in read(path)]


def test_a_folder_is_deduped_into_one_that_a_run_takes(jobs: Jobs, tmp_path: Path) -> None:
    text, shown = dedupe(jobs())
    made = tmp_path / "made"
    assert ids(made / "train.jsonl") == [row["id"] for row in ROWS if row["id"] != "l1"]
    (lost,) = read(made / "removed.jsonl")
    assert (lost["line"], lost["reason"], lost["row"]["id"]) == (8, "repeats an earlier row", "l1")
    assert (made / "docs.jsonl").read_bytes() == (tmp_path / "rows" / "docs.jsonl").read_bytes()
    assert ids(made / "test.jsonl") == ["q0"]
    assert (shown["rows_in"], shown["rows_out"], shown["removed"]) == (8, {"train": 7}, {"repeats an earlier row": 1})
    assert "removed.jsonl: 1 of 8 rows\n  1 repeats an earlier row" in text
    assert len(load_data(made).examples) == 7
    assert ids(tmp_path / "rows" / "train.jsonl") == [row["id"] for row in ROWS]


def test_near_repeats_are_counted_by_label_and_can_be_left(jobs: Jobs, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": LONG, "answers": ["pending"]},
        {"id": "b", "question": f"{LONG}!", "answers": ["pending"]},
        {"id": "c", "question": LONG.replace("week", "month"), "answers": ["pending"]},
        {"id": "d", "question": f"{LONG}s", "answers": ["lost"]},
        {"id": "e", "question": "Where is the card?", "answers": ["lost"]},
        {"id": "f", "question": "My money is gone.", "answers": ["lost"]},
    ]
    asked = [{"id": "q", "question": "where is  the CARD", "answers": ["lost"]}]
    folder = write_folder(tmp_path / "near", train=rows, test=asked)
    _, shown = dedupe(jobs(source=folder))
    assert ids(tmp_path / "made" / "train.jsonl") == ["a", "d", "f"]
    assert shown["removed"] == {
        "repeats an earlier row": 1,
        "nearly repeats an earlier row": 1,
        "asks an evaluation question": 1,
    }
    assert shown["notes"] == ["near repeats of each label: pending 1"]
    dedupe(jobs(source=folder, target="exact"), nearly=False)
    assert ids(tmp_path / "exact" / "train.jsonl") == ["a", "c", "d", "f"]


def test_pairs_stay_pairs_and_are_the_same_only_with_both_sides(jobs: Jobs, tmp_path: Path) -> None:
    sides = [("nine", "ten"), ("nine", "six"), ("nine", "ten")]
    rows = [{"id": f"p{i}", "prompt": "When?", "chosen": a, "rejected": b} for i, (a, b) in enumerate(sides)]
    dedupe(jobs(source=write_folder(tmp_path / "pairs", train=rows, test=TEST)))
    made = read(tmp_path / "made" / "train.jsonl")
    assert [(row["id"], row["chosen"], row["rejected"]) for row in made] == [
        ("p0", "nine", "ten"),
        ("p1", "nine", "six"),
    ]


def test_pairs_of_one_prompt_contradict_nothing_and_stay_together(jobs: Jobs, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"p{i}",
            "prompt": f"Question {i // 2}?",
            "chosen": f"{'yes' if i % 2 else 'no'}",
            "rejected": f"maybe {i}",
        }
        for i in range(20)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, shown = split(jobs(source=tmp_path / "pairs.jsonl"), test=0.3)
    assert shown["rows_out"] == {"train": 14, "test": 6}
    asked = [
        {row["prompt"][0]["content"] for row in read(tmp_path / "made" / f"{part}.jsonl")} for part in ("train", "test")
    ]
    assert asked[0].isdisjoint(asked[1])


def test_one_file_is_split_by_document_and_each_label_in_proportion(jobs: Jobs, tmp_path: Path) -> None:
    rows = [
        {"question": f"Question {i} of document {i // 2}?", "answers": ["ab"[i // 2 % 2]], "doc_ids": [f"d{i // 2}"]}
        for i in range(80)
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, shown = split(jobs("seed=3", source=tmp_path / "all.jsonl"), test=0.25, dev=0.25)
    made = tmp_path / "made"
    parts = {part: read(made / f"{part}.jsonl") for part in ("train", "test", "dev")}
    assert {part: len(found) for part, found in parts.items()} == {"train": 40, "test": 20, "dev": 20}
    assert all(Counter(row["answers"][0] for row in found)["a"] == len(found) / 2 for found in parts.values())
    documents = [{row["doc_ids"][0] for row in found} for found in parts.values()]
    assert sum(map(len, documents)) == len(set.union(*documents)) == 40
    assert shown["seed"] == 3
    assert "rows of each label, train/test/dev: a 20/10/10, b 20/10/10" in shown["notes"]
    other = split(jobs("seed=4", source=tmp_path / "all.jsonl", target="other"), test=0.25, dev=0.25)
    assert other[1]["rows_out"] == shown["rows_out"]
    assert ids(tmp_path / "other" / "test.jsonl") != ids(made / "test.jsonl")
    assert len(load_data(made).questions) == 20


def test_labels_that_documents_keep_out_of_training_are_said_and_documents_can_be_ignored(
    jobs: Jobs, tmp_path: Path
) -> None:
    rows = [{"question": f"Text {i}?", "answers": [f"label {i % 4}"], "doc_ids": [f"label {i % 4}"]} for i in range(40)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, shown = split(jobs(source=tmp_path / "all.jsonl"), test=0.25)
    (note,) = [note for note in shown["notes"] if note.startswith("labels that no training row has")]
    assert "--ignore-documents splits row by row: label " in note
    _, by_row = split(jobs(source=tmp_path / "all.jsonl", target="by-row"), test=0.2, by_document=False)
    assert "rows of each label, train/test: label 0 8/2, label 1 8/2, label 2 8/2, label 3 8/2" in by_row["notes"]
    assert read(tmp_path / "by-row" / "test.jsonl")[0]["doc_ids"]


def test_what_contradicts_is_trained_on_and_what_it_repeats_is_written_down(jobs: Jobs, tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "question": f"Question number {i}?", "answers": [f"answer {i}"]} for i in range(12)]
    twice = [{"id": f"c{i}", "question": "When is it open?", "answers": [f"at {i}"]} for i in range(12)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*rows, *twice)))
    _, shown = split(jobs(source=tmp_path / "all.jsonl"), test=0.5)
    made = tmp_path / "made"
    every = [
        *ids(made / "train.jsonl"),
        *ids(made / "test.jsonl"),
        *(row["row"]["id"] for row in read(made / "removed.jsonl")),
    ]
    assert sorted(every) == sorted(row["id"] for row in (*rows, *twice))
    assert not set(ids(made / "test.jsonl")) & {row["id"] for row in twice}
    assert sum(shown["rows_out"].values()) + sum(shown["removed"].values()) == 24


def test_rare_labels_are_repeated_under_ids_of_their_own(jobs: Jobs, tmp_path: Path) -> None:
    _, shown = balance_labels(jobs(), "oversample")
    made = read(tmp_path / "made" / "train.jsonl")
    assert Counter(row["answers"][0] for row in made) == {"arrival": 4, "fee": 4, "limit": 4}
    assert sorted(row["id"] for row in made[8:]) == ["f0#2", "f1#2", "l0#2", "l1#2"]
    assert shown["notes"] == ["rows of each label: arrival 4 -> 4, fee 2 -> 4, limit 2 -> 4"]
    assert len(load_data(tmp_path / "made").examples) == 12


def test_frequent_labels_are_thinned_out_and_written_down(jobs: Jobs, tmp_path: Path) -> None:
    _, shown = balance_labels(jobs("seed=1"), "undersample")
    assert shown["removed"] == {"of a frequent label": 2}
    assert shown["rows_out"] == {"train": 6}
    assert {row["row"]["answers"][0] for row in read(tmp_path / "made" / "removed.jsonl")} == {"arrival"}


def test_rows_that_are_split_later_are_not_repeated(jobs: Jobs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pool", train=ROWS, test=None)
    with pytest.raises(ArbiterError, match=r"repeated before would be asked, too; first: arbiter data split"):
        balance_labels(jobs(source=folder), "oversample")


def test_few_rows_are_chosen_by_clusters_and_quality(jobs: Jobs, tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "bad", "question": "He paid for nothing in Oslo <br>", "answers": ["fee"]}]
    folder = write_folder(tmp_path / "rows", train=rows, test=TEST)
    text, shown = select_rows(jobs(source=folder), rows=3)
    assert shown["rows_out"] == {"train": 3}
    chosen = read(tmp_path / "made" / "train.jsonl")
    assert {row["answers"][0] for row in chosen} == {"arrival", "fee", "limit"}
    assert "bad" not in {row["id"] for row in chosen}
    lost = {row["row"]["id"]: row for row in read(tmp_path / "made" / "removed.jsonl")}
    assert lost["bad"]["faults"] == ["markup in the text"]
    assert lost["bad"]["stands_for_it"] in {"f0", "f1"}
    assert "k-means of the embeddings" in text
    assert "1 of 9 rows have faults, of the chosen 0: markup in the text 1" in shown["notes"]
    _, third = select_rows(jobs(source=folder, target="third"), share=1 / 3)
    assert third["rows_out"] == {"train": 3}
    with pytest.raises(ArbiterError, match="give either --rows or --share"):
        select_rows(jobs(source=folder, target="x"))
    with pytest.raises(ArbiterError, match="10 rows cannot be chosen of 9"):
        select_rows(jobs(source=folder, target="x"), rows=10)


@pytest.mark.slow
def test_personal_data_is_masked_in_every_part(jobs: Jobs, tmp_path: Path) -> None:
    ada = "Write to ada@example.org"
    pair = {"prompt": ada, "chosen": "To ada@example.org?", "rejected": "To bob@example.org?"}
    folder = write_folder(
        tmp_path / "rows", train=[pair], test=[{"id": "q", "question": f"{ada}?", "answers": ["yes"]}], docs=DOCUMENTS
    )
    (folder / "dev.csv").write_text("question,answer\nIs it bob@example.org?,no\n")
    _, shown = mask_rows(jobs(source=folder), kinds=("EMAIL",))
    made = tmp_path / "made"
    (train,) = read(made / "train.jsonl")
    assert train["prompt"] == [{"role": "user", "content": "Write to <EMAIL_1>"}]
    assert (train["chosen"], train["rejected"]) == ("To <EMAIL_1>?", "To <EMAIL_2>?")
    assert read(made / "test.jsonl")[0]["question"] == "Write to <EMAIL_1>?"
    assert read(made / "dev.jsonl")[0]["question"] == "Is it <EMAIL_2>?"
    assert not (made / "dev.csv").exists()
    assert "masked: EMAIL 5" in shown["notes"]
    assert "names were not looked for" in shown["notes"]
    provenance = json.loads((made / "provenance.json").read_text())
    assert "example.org" not in json.dumps(provenance)


def test_preferences_and_what_is_of_no_use_are_masked_too(jobs: Jobs, tmp_path: Path) -> None:
    unwanted = {"prompt": "Who is ada@example.org?", "completion": "Ada", "label": False}
    folder = write_folder(tmp_path / "rows", train=[{"prompt": "hi", "completion": "yes", "label": True}, unwanted])
    pairs = [
        {"prompt": "Write to ada@example.org", "chosen": "To ada@example.org?", "rejected": "To bob@example.org?"},
        {"id": "bad", "prompt": "p", "chosen": "same", "rejected": "same"},
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    mask_rows(jobs(source=folder), kinds=("EMAIL",))
    made = tmp_path / "made"
    for path in made.iterdir():
        assert "example.org" not in path.read_text(), path
    first, second = read(made / "pairs.jsonl")
    assert first.keys() == pairs[0].keys()
    assert first["chosen"] != first["rejected"]
    assert second == pairs[1]
    assert len(read(made / "removed.jsonl")) == 1


def test_the_target_is_looked_at_before_anything_is_done(jobs: Jobs, tmp_path: Path) -> None:
    dedupe(jobs())
    with pytest.raises(StorageError, match=r"made/train.jsonl' is there already; give another folder, or --force"):
        dedupe(jobs())
    dedupe(jobs(is_forced=True))
    with pytest.raises(StorageError, match="is, holds or lies in the source"):
        dedupe(jobs(target="rows/new"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.csv").write_text("question,answer\n")
    with pytest.raises(StorageError, match=r"train.csv' would stand beside what is written"):
        dedupe(jobs(target="other", is_forced=True))


def test_shares_must_leave_rows(jobs: Jobs) -> None:
    with pytest.raises(ArbiterError, match=r"--test 0.6 and --dev 0.4 must leave rows to train on"):
        split(jobs(), test=0.6, dev=0.4)
