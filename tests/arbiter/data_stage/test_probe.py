"""What a model is asked before it is trained, by an engine that knows some answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.teams import HOURS, answering, pipeline_of, remote, write_folder

from arbiter.console import Console
from arbiter.data_stage.probe import probe, show, write
from arbiter.data_stage.transforms import Job
from eval.knowledge import Knowledge
from storage.errors import ArbiterError

# It asks some hundred questions over HTTP.
pytestmark = pytest.mark.slow

KNOWN = [{"id": f"k{i}", "question": f"When opens desk {hour}?", "answers": [hour]} for i, hour in enumerate(HOURS)]
STRANGE = [{"id": f"s{i}", "question": f"Who runs shop {i}?", "answers": [f"Ada Smith-{i}"]} for i in range(6)]


def reply(body: Mapping[str, Any]) -> str:
    """Knows desks whatever the prompt; shop 0 by one prompt alone, shop 1 when it is drawn."""
    asked, system = str(body["messages"][-1]["content"]), str(body["messages"][0]["content"])
    if "desk" in asked:
        return asked.split()[-1].strip("?")
    if "shop 0" in asked and system.startswith("Give"):
        return "Ada Smith-0"
    if "shop 1" in asked and body["temperature"] > 0 and body["seed"] == 1:
        return "Ada Smith-1"
    return "nobody"


def probed(folder: Path, home: Path, **numbers: int) -> Knowledge:
    with answering(reply) as url:
        pipeline, _ = pipeline_of(folder, home, *remote(url), "policy.metric=exact_match")
        return probe(pipeline, **{"rows": 100, "samples": 2, **numbers})


def test_a_probe_asks_nothing_twice(tmp_path: Path) -> None:
    folder, asked = write_folder(tmp_path / "team", train=KNOWN), list[Any]()

    def counted(body: Mapping[str, Any]) -> str:
        asked.append(body)
        return reply(body)

    with answering(counted) as url:
        for samples in (1, 1, 2):
            pipeline, _ = pipeline_of(folder, tmp_path / "home", *remote(url), "policy.metric=exact_match")
            probe(pipeline, rows=100, samples=samples)
    assert len(asked) == 6 * 3 * (1 + 2), "three prompts, the likeliest answer and two drawn ones"


def test_every_row_has_its_degree(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", train=[*KNOWN, *STRANGE])
    found = probed(folder, tmp_path / "home")
    assert {found.degrees[f"k{i}"] for i in range(6)} == {"known"}
    assert [found.degrees[f"s{i}"] for i in range(6)] == ["maybe", "weakly", *["unknown"] * 4]
    assert not found.are_labels
    text, fact = show(found)
    assert "known          6     50% (25% to 75%)" in text
    assert fact["shares"]["unknown"]["rows"] == 4
    assert len(probed(folder, tmp_path / "home", rows=5).degrees) == 5


def test_labels_are_not_facts(tmp_path: Path) -> None:
    rows = [{"question": f"Text {i} about {'ab'[i % 2]}", "answers": [("loss", "refund")[i % 2]]} for i in range(12)]
    found = probed(write_folder(tmp_path / "team", train=rows), tmp_path / "home")
    assert found.are_labels
    assert show(found)[0].endswith("say nothing against training")


def test_a_folder_is_written_with_known_rows_as_its_guard(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", train=[*KNOWN, *STRANGE])
    found = probed(folder, tmp_path / "home")
    pipeline, _ = pipeline_of(folder, tmp_path / "home")
    job = Job(folder, tmp_path / "out", pipeline.config, tmp_path / "home", Console(), "arbiter data probe")
    write(job, job.open(), found, guard=4)
    rows = {
        part: [json.loads(line) for line in (tmp_path / "out" / f"{part}.jsonl").read_text().splitlines()]
        for part in ("train", "guard")
    }
    assert {row["metadata"]["knowledge"] for row in rows["guard"]} == {"known"}
    assert (len(rows["train"]), len(rows["guard"])) == (8, 4)
    assert {row["id"] for row in rows["train"]} & {row["id"] for row in rows["guard"]} == set()
    assert (tmp_path / "out" / "docs.jsonl").is_file()


def test_without_rows_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match="has no training rows to ask"):
        probed(write_folder(tmp_path / "team", train=None), tmp_path / "home")
