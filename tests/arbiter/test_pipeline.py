"""The main job without a model: somebody else's engine, LangChain's embeddings."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.teams import TEST, answering, pipeline_of, remote, write_folder

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from storage.errors import ArbiterError


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.mark.slow
def test_a_remote_engine_without_adapters_needs_no_model_on_this_disk(tmp_path: Path, url: str) -> None:
    folder, home = write_folder(tmp_path / "team"), tmp_path / "home"
    pipeline, _ = pipeline_of(folder, home, *remote(url))
    run = pipeline.evaluate()
    assert not (home / "models").exists()
    assert pipeline.base.path == ""
    assert run.manifest["base_revision"] == f"at {url}"
    assert [scores.arm.name for scores in run.scorecard().arms] == ["base", "fewshot", "rag"]
    pipeline.decide(run)
    # What can be trained needs the model.
    tuned, _ = pipeline_of(folder, home, *remote(url), "arms.mine.adapter=closed_book", "model=/no/model")
    with pytest.raises(ArbiterError, match="no model folder '/no/model'"):
        tuned.find_base()


@pytest.mark.slow
async def test_a_notebook_evaluates_and_decides_inside_its_own_loop(tmp_path: Path, url: str) -> None:
    pipeline, _ = pipeline_of(write_folder(tmp_path / "team"), tmp_path / "home", *remote(url))
    assert pipeline.decide(pipeline.evaluate()).arm in ("base", "fewshot", "rag")


@pytest.mark.slow
def test_arms_that_lack_a_part_are_left_out_in_output_and_card(tmp_path: Path, url: str) -> None:
    folder = write_folder(tmp_path / "team", docs=None, train=None)
    # Arms that would train, too: without rows there is nothing to train, and no model is needed.
    overrides = [word for word in remote(url) if not word.startswith("arms.")]
    pipeline, err = pipeline_of(folder, tmp_path / "home", *overrides)
    run = pipeline.evaluate()
    assert [scores.arm.name for scores in run.scorecard().arms] == ["base"]
    notes = (
        "no documents (docs.jsonl, docs/ or docs.zip), so these arms are left out: rag, tuned_rag, hybrid",
        "no training rows (train.jsonl), so these arms are left out: fewshot, tuned, tuned_rag, hybrid",
    )
    pipeline.decide(run)
    for note in notes:
        assert f"note: {note}" in err.getvalue()
        assert note in run.card()["diagnostics"]
    nothing, _ = pipeline_of(folder, tmp_path / "home", *overrides, "arms.base=null")
    with pytest.raises(ArbiterError, match="no arm can be asked: no documents"):
        nothing.evaluate()


def test_an_index_is_built_of_a_folder_of_documents_alone(tmp_path: Path, url: str) -> None:
    folder = write_folder(tmp_path / "team", train=None, test=None)
    config = load_config(folder, remote(url), {})
    quiet = Console(stderr=io.StringIO(), stdout=io.StringIO())
    pipeline = Pipeline(config, home=tmp_path / "home", console=quiet, needs_questions=False)
    assert list(pipeline.index()) == ["documents"]


@pytest.mark.slow
def test_of_two_that_run_the_same_at_once_the_second_waits_and_asks_nothing(tmp_path: Path) -> None:
    folder, asked, is_second_waiting = write_folder(tmp_path / "team"), list[object](), threading.Event()

    def reply(body: Mapping[str, Any]) -> Any:
        asked.append(body)
        is_second_waiting.wait(10)
        return "one"

    with answering(reply) as url, ThreadPoolExecutor() as pool:
        first, second = (pipeline_of(folder, tmp_path / "home", *remote(url)) for _ in range(2))
        one = pool.submit(first[0].evaluate)
        while not asked and not one.done():
            time.sleep(0.01)
        two = pool.submit(second[0].evaluate)
        while "another process works on run" not in second[1].getvalue() and not two.done():
            time.sleep(0.01)
        is_second_waiting.set()
        assert one.result().id == two.result().id
    assert len(asked) == 3 * len(TEST)
    assert "another process" not in first[1].getvalue()
    assert f"run {one.result().id} is complete: nothing to ask" in second[1].getvalue()


LONG = " ".join(f"word{i}" for i in range(60))


def test_answers_get_room_by_the_training_rows_and_it_goes_into_the_arms(tmp_path: Path, url: str) -> None:
    train = [{"question": f"Which row is number {i} of {LONG[:i]}?", "answers": [LONG]} for i in range(40)]
    folder = write_folder(tmp_path / "team", train=train)
    pipeline, err = pipeline_of(folder, tmp_path / "home", *remote(url))
    run = pipeline.evaluate()
    # No tokenizer at hand: 409 bytes are 137 tokens of 3, a quarter more and the end are 172.25, in eights 176.
    assert {scores.arm.sampling.max_tokens for scores in run.scorecard().arms} == {176}
    assert "answers may have 176 tokens (sampling.max_tokens): 95% of the training rows' answers have about 137" in (
        err.getvalue()
    )


@pytest.mark.slow
def test_golds_that_are_cut_are_said_in_output_and_card(tmp_path: Path, url: str) -> None:
    folder = write_folder(tmp_path / "team", test=[*TEST, {"question": "What are the rules?", "answers": [LONG]}])
    pipeline, err = pipeline_of(folder, tmp_path / "home", *remote(url), "sampling.max_tokens=32")
    run = pipeline.evaluate()
    pipeline.decide(run)
    note = (
        "1 of 7 questions have no gold answer of fewer than 32 tokens (about 137 for the longest), so base, fewshot, "
        "rag cannot give it in full: raise sampling.max_tokens"
    )
    assert note in err.getvalue()
    assert note in run.card()["diagnostics"]
