"""The official client deletes models that jobs made, and what a crash leaves of it is deleted later."""

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from fakes.tuning_server import MODEL, ROW, LoadingEngine, Tuning, fake_command, tuning_server, until

from serving.fine_tuning.store import DELETED, DELETING, KEPT, fate_of

# Every job is two processes.
pytestmark = pytest.mark.slow


@pytest.fixture
def tuning(tmp_path: Path) -> Iterator[Tuning]:
    with tuning_server(tmp_path) as running:
        yield running


def models(tuning: Tuning) -> set[str]:
    return {model.id for model in tuning.client.models.list()}


def folder(tuning: Tuning, model: str) -> Path:
    return tuning.home / "adapters" / model.removeprefix(f"{MODEL}:")


def test_a_model_is_deleted_with_its_adapter_and_no_job_serves_it_again(tmp_path: Path) -> None:
    with tuning_server(tmp_path) as tuning:
        first = tuning.succeeded(suffix="gone", seed=1)
        again = tuning.succeeded(suffix="gone", seed=1)
        kept = tuning.succeeded(ROW, ROW, suffix="kept").fine_tuned_model
        model = first.fine_tuned_model
        assert (again.fine_tuned_model, folder(tuning, model).exists()) == (model, True)
        assert tuning.client.models.delete(model).to_dict() == {"id": model, "deleted": True, "object": "model"}
        assert models(tuning) == {"auto", "base", "rag", "hybrid", kept}
        with pytest.raises(openai.NotFoundError, match="no model"):
            tuning.client.chat.completions.create(model=model, messages=[{"role": "user", "content": "When?"}])
        until(lambda: not folder(tuning, model).exists())
        until(lambda: tuning.loading.loaded == [kept.removeprefix(f"{MODEL}:")])
        for job in (first, again):
            assert f"model {model} was deleted" in tuning.messages(job.id)
            assert tuning.client.fine_tuning.jobs.checkpoints.list(job.id).data == []
            told = tuning.client.fine_tuning.jobs.retrieve(job.id)
            assert (told.status, told.fine_tuned_model) == ("succeeded", model)
            assert told.to_dict()["arbiter"]["is_model_deleted"]  # type: ignore[index]
        with pytest.raises(openai.NotFoundError, match="no fine-tuned model"):
            tuning.client.models.delete(model)
        with pytest.raises(openai.BadRequestError, match="is no adapter here"):
            tuning.created(model=model)
    with tuning_server(tmp_path) as tuning:
        assert models(tuning) == {"auto", "base", "rag", "hybrid", kept}
        # The same rows make it anew.
        assert tuning.succeeded(suffix="gone", seed=1).fine_tuned_model == model
        assert model in models(tuning)
    with tuning_server(tmp_path) as tuning:
        assert models(tuning) == {"auto", "base", "rag", "hybrid", kept, model}


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("auto", 409, "promote another decision"),
        ("base", 409, "it is an arm of the decision that is served"),
        (MODEL, 409, "it is the base model"),
        (f"{MODEL}:raft@1", 409, "answers with its adapter"),
        (f"{MODEL}:none@00000000", 404, "no fine-tuned model"),
        ("gpt-4o-mini", 404, "no fine-tuned model 'gpt-4o-mini'"),
    ],
)
def test_what_cannot_be_deleted_is_said(tuning: Tuning, model: str, status: int, said: str) -> None:
    with pytest.raises(openai.APIStatusError, match=said) as refused:
        tuning.client.models.delete(model)
    assert (refused.value.status_code, refused.value.param) == (status, "model")
    assert "\n" not in refused.value.message


def test_a_model_that_a_job_trains_further_is_not_deleted(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05)) as tuning:
        model = tuning.succeeded(suffix="quick").fine_tuned_model
        config = folder(tuning, model) / "adapter_config.json"
        assert json.loads(config.read_bytes())["r"] == 16
        further = tuning.created(model=model)
        with pytest.raises(
            openai.ConflictError, match=f"job {further.id} trains it further; wait for it, or cancel it"
        ):
            tuning.client.models.delete(model)
        tuning.client.fine_tuning.jobs.cancel(further.id)
        assert tuning.client.models.delete(model).deleted


def test_a_deletion_that_a_crash_cut_off_is_done_at_the_next_start(tmp_path: Path) -> None:
    with tuning_server(tmp_path) as tuning:
        made = {suffix: tuning.succeeded(suffix=suffix, seed=1) for suffix in ("rows", "both")}
        adapters = {suffix: job.fine_tuned_model.removeprefix(f"{MODEL}:") for suffix, job in made.items()}
        # As a server leaves it that is killed after its rows were changed, and one that is while it deletes files.
        store, place = tuning.runner.store, tuning.runner.store.get(made["rows"].id).place
        for adapter in adapters.values():
            store.set_fate(place, adapter, KEPT, DELETING)
        torn = tmp_path / "adapters" / adapters["both"]
        torn.rename(torn.with_name(f".{torn.name}.tmp-1-00c0ffee"))
    loading = LoadingEngine()
    with tuning_server(tmp_path, loading=loading) as tuning:
        assert models(tuning) == {"auto", "base", "rag", "hybrid"}
        assert [*(tmp_path / "adapters").iterdir()] == []
        assert loading.loaded == []
        assert {fate_of(tuning.runner.store.get(job.id)) for job in made.values()} == {DELETED}


def test_an_adapter_that_was_made_again_while_it_was_deleted_stays(tmp_path: Path) -> None:
    with tuning_server(tmp_path) as tuning:
        first = tuning.succeeded(suffix="twin", seed=1)
        place, adapter = tuning.runner.store.get(first.id).place, first.fine_tuned_model.removeprefix(f"{MODEL}:")
        tuning.runner.store.set_fate(place, adapter, KEPT, DELETING)
        again = tuning.succeeded(suffix="twin", seed=1)
    with tuning_server(tmp_path) as tuning:
        assert again.fine_tuned_model in models(tuning)
        fates = {job.id: fate_of(tuning.runner.store.get(job.id)) for job in (first, again)}
        assert fates == {first.id: DELETED, again.id: KEPT}
