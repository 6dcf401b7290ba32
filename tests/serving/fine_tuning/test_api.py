"""The official client drives /v1/fine_tuning/jobs over a real socket; the trainings are scripted processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fakes.tuning_server import MODEL, ROW, Tuning, fake_command, tuning_server, until
from openai.types import Model
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

# Every job is two processes.
pytestmark = pytest.mark.slow

PAIR = {
    "input": {"messages": [{"role": "user", "content": "When?"}], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [{"role": "assistant", "content": "At nine."}],
    "non_preferred_output": [{"role": "assistant", "content": "Some time."}],
}
BETA = "method.supervised.hyperparameters.beta"


@pytest.fixture
def tuning(tmp_path: Path) -> Iterator[Tuning]:
    with tuning_server(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuning]:
    """One server for the tests that leave no job which waits."""
    with tuning_server(tmp_path_factory.mktemp("tuning")) as running:
        yield running


def test_a_job_trains_on_an_uploaded_file_and_its_model_answers_by_name(tuning: Tuning) -> None:
    client = tuning.client
    training, validation = tuning.uploaded(ROW, ROW), tuning.uploaded(ROW, name="dev.jsonl")
    job = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=training,
        validation_file=validation,
        suffix="support",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
        metadata={"team": "desk"},
    )
    assert (job.object, job.status, job.model, job.seed) == ("fine_tuning.job", "validating_files", MODEL, 7)
    assert (job.training_file, job.validation_file, job.metadata) == (training, validation, {"team": "desk"})
    assert (job.fine_tuned_model, job.trained_tokens, job.finished_at, job.error) == (None, None, None, None)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, "auto")
    assert (job.organization_id, job.integrations, job.result_files) == ("arbiter", [], [])
    done = tuning.until(job.id, "succeeded")
    assert done.fine_tuned_model.startswith(f"{MODEL}:support@")
    assert (done.trained_tokens, done.estimated_finish, done.error) == (30, None, None)
    assert done.finished_at >= done.created_at
    # What auto came to is said, and the method with it.
    numbers = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert done.hyperparameters.to_dict() == numbers
    assert done.method.to_dict() == {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    assert done.to_dict()["arbiter"]["num_rows"] == 2

    listed = {model.id: model for model in client.models.list()}
    assert listed[done.fine_tuned_model].to_dict()["parent"] == MODEL
    reply = client.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "When?"}], temperature=0.5
    )
    adapter = done.fine_tuned_model.removeprefix(f"{MODEL}:")
    assert reply.choices[0].message.content == f"{adapter} says"
    # As the rows were trained: without a system message of ours, and without a limit that cuts answers off.
    (asked,) = tuning.answers.requests
    assert [message["role"] for message in asked.messages] == ["user"]
    assert "max_tokens" not in asked.options
    assert tuning.loading.loaded == [adapter]
    assert tuning.left() == []


def test_events_tell_of_every_step_once_and_in_order(shared: Tuning) -> None:
    job = shared.succeeded(validation_file=shared.uploaded(ROW))
    events = list(shared.client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert [event.id for event in events] == sorted((event.id for event in events), reverse=True)
    assert len({event.id for event in events}) == len(events)
    assert {event.object for event in events} == {"fine_tuning.job.event"}
    said = [event.message for event in events][::-1]
    assert said == [
        f"job {job.id} was created; its files are checked",
        "1 rows to learn, 1 to look at the training with; the job waits for its turn",
        "the training begins",
        "the training will take about 60 s and 0.5 GB of memory",
        "step 1/3: training loss 1.0000",
        "step 2/3: training loss 0.5000, validation loss 1.0000",
        "checkpoint after step 1",
        "step 3/3: training loss 0.3333",
        "checkpoint after step 2",
        f"the job succeeded; its model is served as {job.fine_tuned_model}",
    ]
    assert shared.steps(job.id)[1] == {
        "step": 2,
        "total_steps": 3,
        "train_loss": 0.5,
        "valid_loss": 1.0,
        "valid_exact_match": 0.5,
        "trained_tokens": 20,
    }
    first = shared.http.get(f"/fine_tuning/jobs/{job.id}/events", params={"limit": 2, "order": "asc"}).json()
    assert ([event["message"] for event in first["data"]], first["has_more"]) == (said[:2], True)
    assert [event["level"] for event in first["data"]] == ["info", "info"]


def test_the_result_file_has_a_line_for_each_step(shared: Tuning) -> None:
    job = shared.succeeded(validation_file=shared.uploaded(ROW))
    (file_id,) = job.result_files
    found = shared.client.files.retrieve(file_id)
    assert (found.purpose, found.filename) == ("fine-tune-results", f"{job.id}.csv")
    assert shared.client.files.content(file_id).text.splitlines() == [
        "step,train_loss,valid_loss,valid_exact_match",
        "0,,4.0,0.0",
        "1,1.0,,",
        "2,0.5,1.0,0.5",
        "3,0.3333333333333333,,",
    ]


def test_a_job_that_succeeded_has_its_model_as_the_checkpoint(shared: Tuning) -> None:
    job = shared.succeeded()
    (checkpoint,) = shared.client.fine_tuning.jobs.checkpoints.list(job.id)
    assert (checkpoint.fine_tuning_job_id, checkpoint.object) == (job.id, "fine_tuning.job.checkpoint")
    assert (checkpoint.step_number, checkpoint.fine_tuned_model_checkpoint) == (3, job.fine_tuned_model)
    assert checkpoint.metrics.step == 3
    assert checkpoint.metrics.train_loss == pytest.approx(1 / 3)
    assert checkpoint.metrics.valid_loss is None


def test_every_field_of_openais_types_is_there_and_is_of_its_type(shared: Tuning) -> None:
    job = shared.succeeded(validation_file=shared.uploaded(ROW), metadata={"team": "desk"})
    failed = shared.failed("BAD")
    at = "/fine_tuning/jobs"
    checkpoints = shared.http.get(f"{at}/{job.id}/checkpoints").json()["data"]
    events = shared.http.get(f"{at}/{job.id}/events", params={"limit": 100}).json()["data"]
    jobs = [shared.http.get(f"{at}/{job_id}").json() for job_id in (job.id, failed.id)]
    found: list[tuple[Any, Any]] = [
        *((FineTuningJob, one) for one in jobs),
        *((FineTuningJobEvent, one) for one in events),
        *((FineTuningJobCheckpoint, one) for one in checkpoints),
        (Model, shared.http.get(f"/models/{job.fine_tuned_model}").json()),
    ]
    for kind, body in found:
        kind.model_validate(body)
        # Of a model that is served nobody knows when it will not be.
        assert set(kind.model_fields) - {"shutdown_date"} <= body.keys()
    assert type(jobs[0]["hyperparameters"]["n_epochs"]) is int


def test_a_job_learns_preferences_by_dpo(shared: Tuning) -> None:
    hyper = {"beta": 0.5, "n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": hyper}}
    pairs = shared.uploaded(PAIR, PAIR, name="pairs.jsonl"), shared.uploaded(PAIR, name="others.jsonl")
    job = shared.created(training_file=pairs[0], validation_file=pairs[1], method=method)
    assert job.method.to_dict() == {"type": "dpo", "dpo": {"hyperparameters": hyper}}
    done = shared.until(job.id, "succeeded")
    # As OpenAI's type has it: beta is a number of the method alone.
    settled = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert done.hyperparameters.to_dict() == settled
    assert done.method.to_dict() == {"type": "dpo", "dpo": {"hyperparameters": {**settled, "beta": 0.5}}}
    learned = {"name": "dpo", "beta": 0.5, "held_out": 0.0, "measured_pairs": None}
    assert done.to_dict()["arbiter"]["recipe"]["objective"] == learned
    (checkpoint,) = shared.client.fine_tuning.jobs.checkpoints.list(job.id)
    assert (checkpoint.step_number, checkpoint.metrics.step) == (3, 3)
    assert shared.steps(job.id)[1]["valid_reward_accuracy"] == 0.5
    header, *_ = shared.client.files.content(done.result_files[0]).text.splitlines()
    assert header == "step,train_loss,valid_loss,valid_reward_accuracy"
    plain = shared.created(PAIR, method={"type": "dpo"})
    assert shared.until(plain.id, "succeeded").method.dpo.hyperparameters.beta == 0.1


def test_two_jobs_of_one_suffix_both_work_and_one_of_the_same_rows_gives_the_same_model(shared: Tuning) -> None:
    other = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]}
    created = [shared.created(row, suffix="twin", seed=1).id for row in (ROW, other, ROW)]
    first, second, again = (shared.until(job_id, "succeeded") for job_id in created)
    assert first.fine_tuned_model != second.fine_tuned_model
    assert {job.fine_tuned_model.partition("@")[0] for job in (first, second)} == {f"{MODEL}:twin"}
    assert again.fine_tuned_model == first.fine_tuned_model
    adapter = first.fine_tuned_model.partition(":")[2]
    assert f"adapter {adapter} was there: it has the same rows and numbers" in shared.messages(again.id)
    # A seed that is not given is drawn.
    assert shared.created().seed != shared.created().seed


def test_jobs_are_listed_newest_first_in_pages_and_by_their_labels(tuning: Tuning) -> None:
    file = tuning.uploaded()
    labels: list[Any] = [{"team": "desk", "run": "1"}, {"team": "desk", "run": "2"}, {"team": "lab"}, None]
    ids = [tuning.created(training_file=file, metadata=label or openai.omit).id for label in labels]
    jobs = tuning.client.fine_tuning.jobs
    assert [job.id for job in jobs.list(limit=2)] == ids[::-1]
    assert [job.id for job in jobs.list(limit=2, after=ids[2]).data] == [ids[1], ids[0]]
    assert [job.id for job in jobs.list(metadata={"team": "desk"})] == [ids[1], ids[0]]
    assert [job.id for job in jobs.list(metadata={"team": "desk", "run": "1"})] == [ids[0]]
    assert [job.id for job in jobs.list(metadata={"team": "nobody"})] == []
    assert [job["id"] for job in tuning.http.get("/fine_tuning/jobs?metadata=null").json()["data"]] == [ids[3]]
    for query, param in (
        ("limit=0", "limit"),
        ("after=ftjob-x", "after"),
        ("page=2", "page"),
        ("metadata=desk", "metadata"),
    ):
        reply = tuning.http.get(f"/fine_tuning/jobs?{query}")
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_bad_file_fails_the_job_before_any_training(shared: Tuning) -> None:
    job = shared.failed(ROW, "BAD")
    assert job.error.to_dict() == {
        "code": "invalid_training_file",
        "param": "training_file",
        "message": "train.jsonl: 1 faulty row: line 2: it is bad",
    }
    assert (job.trained_tokens, job.fine_tuned_model, job.result_files) == (None, None, [])
    assert job.finished_at is not None
    newest = shared.client.fine_tuning.jobs.list_events(job.id).data[0]
    assert (newest.level, newest.message) == ("error", job.error.message)
    assert "the training begins" not in shared.messages(job.id)
    other = shared.failed(validation_file=shared.uploaded("BAD", name="dev.jsonl"))
    assert (other.error.code, other.error.param) == ("invalid_validation_file", "validation_file")
    assert not (shared.home / "training" / job.id).exists()


def test_a_job_is_cancelled_while_it_trains_and_nothing_of_it_stays(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05)) as tuning:
        jobs = tuning.client.fine_tuning.jobs
        job = tuning.created()
        until(lambda: len(tuning.steps(job.id)) > 2)
        running = jobs.retrieve(job.id)
        assert running.status == "running"
        assert running.estimated_finish > running.created_at
        resumable = jobs.checkpoints.list(job.id).data
        assert 1 <= len(resumable) <= 2
        assert resumable[0].fine_tuned_model_checkpoint == f"{MODEL}:tuned:step-{resumable[0].step_number}"
        waiting = tuning.created()
        tuning.until(waiting.id, "queued")
        assert jobs.cancel(job.id).status == "cancelled"
        assert jobs.cancel(job.id).status == "cancelled", "a second time is no mistake"
        # The next one has its turn.
        tuning.until(waiting.id, "running")
        until(lambda: tuning.left() == [waiting.id])
        cancelled = jobs.retrieve(job.id)
        assert (cancelled.fine_tuned_model, cancelled.result_files, cancelled.estimated_finish) == (None, [], None)
        assert cancelled.finished_at is not None
        assert jobs.checkpoints.list(job.id).data == []
        assert tuning.messages(job.id)[-1] == "the job was cancelled"
        assert not (tmp_path / "adapters").exists()
        jobs.cancel(waiting.id)
        until(lambda: tuning.left() == [])


def test_a_paused_job_goes_on_where_it_was(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=20, pause_s=0.15)) as tuning:
        jobs = tuning.client.fine_tuning.jobs
        job = tuning.created(seed=1)
        until(lambda: len(tuning.steps(job.id)) > 2)
        with pytest.raises(openai.ConflictError, match="only a paused one can be resumed"):
            jobs.resume(job.id)
        paused = jobs.pause(job.id)
        assert (paused.status, paused.estimated_finish, paused.finished_at) == ("paused", None, None)
        assert jobs.pause(job.id).status == "paused"
        # Another one trains meanwhile.
        between = tuning.succeeded(ROW, ROW, suffix="quick")
        assert jobs.retrieve(job.id).status == "paused"
        assert tuning.left() == [job.id], "it keeps its checkpoint"
        assert jobs.resume(job.id).status in ("queued", "running")
        tuning.until(job.id, "succeeded")
        assert [step["step"] for step in tuning.steps(job.id)] == list(range(1, 21)), "no step is told twice"
        said = tuning.messages(job.id)
        assert said.index("the job was paused") < said.index("the job was resumed")
        assert "the training goes on from its last checkpoint" in said
        assert between.finished_at <= jobs.retrieve(job.id).finished_at
        for refused in (jobs.pause, jobs.resume, jobs.cancel):
            with pytest.raises(openai.ConflictError, match="is succeeded"):
                refused(job.id)


def test_a_job_that_waits_is_paused_resumed_and_cancelled_too(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05)) as tuning:
        jobs = tuning.client.fine_tuning.jobs
        first = tuning.created()
        tuning.until(first.id, "running")
        waiting = tuning.created()
        tuning.until(waiting.id, "queued")
        assert jobs.pause(waiting.id).status == "paused"
        jobs.cancel(first.id)
        assert jobs.resume(waiting.id).status in ("queued", "running")
        # At once again, while the process that was stopped may still end.
        tuning.until(waiting.id, "running")
        assert jobs.pause(waiting.id).status == "paused"
        assert jobs.resume(waiting.id).status in ("queued", "running")
        tuning.until(waiting.id, "running")
        jobs.pause(waiting.id)
        assert jobs.cancel(waiting.id).status == "cancelled"
        until(lambda: tuning.left() == [])


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"model": "gpt-4o-mini"}, 404, "model"),
        ({"model": f"{MODEL}:support@00000000"}, 400, "model"),
        ({"training_file": "file-x"}, 404, "training_file"),
        ({"validation_file": "file-x"}, 404, "validation_file"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0}}}}, 400, "method.dpo.hyperparameters.beta"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"bata": 1}}}}, 400, "method.dpo.hyperparameters.bata"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"learning_rate_multiplier": 1e6}}}},
            400,
            "method.dpo.hyperparameters.learning_rate_multiplier",
        ),
        ({"method": {"type": "dpo", "supervised": {}}}, 400, "method.supervised"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.1}}}}, 400, BETA),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, 400, "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, 400, "method.dpo"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 1000}}, 400, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, 400, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"learning_rate_multiplier": 1e6}}, 400, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"prompt_loss_weight": 0.1}}, 400, "hyperparameters.prompt_loss_weight"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": "many"}}}},
            400,
            "method.supervised.hyperparameters.batch_size",
        ),
        ({"suffix": "a b"}, 400, "suffix"),
        ({"suffix": ""}, 400, "suffix"),
        ({"suffix": "x" * 65}, 400, "suffix"),
        ({"seed": -1}, 400, "seed"),
        ({"seed": 2**31}, 400, "seed"),
        ({"arbiter": {"objective": "dpo"}}, 400, "arbiter.objective"),
        ({"arbiter": {"method": ["lora"]}}, 400, "arbiter.method"),
        ({"metadata": {"k": 5}}, 400, "metadata.k"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, 400, "integrations"),
        ({"arbiter": {"method": "lorra"}}, 400, "arbiter.method"),
        ({"arbiter": {"rank": 0}}, 400, "arbiter.rank"),
        ({"arbiter": {"rang": 8}}, 400, "arbiter.rang"),
        ({"n_epochs": 3}, 400, "n_epochs"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    shared: Tuning, asked: dict[str, Any], status: int, param: str
) -> None:
    before = len(shared.client.fine_tuning.jobs.list(limit=100).data)
    body = {"model": MODEL, "training_file": shared.uploaded(), **asked}
    reply = shared.http.post("/fine_tuning/jobs", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param)
    assert error["message"].startswith(param) or status == 404
    assert "\n" not in error["message"]
    assert len(shared.client.fine_tuning.jobs.list(limit=100).data) == before


def test_what_openai_always_sends_is_taken(shared: Tuning) -> None:
    body = {"model": MODEL, "training_file": shared.uploaded(), "integrations": [], "suffix": None, "seed": None}
    body |= {"hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}}
    reply = shared.http.post("/fine_tuning/jobs", json=body)
    assert reply.status_code == 200
    assert shared.until(reply.json()["id"], "succeeded").fine_tuned_model.startswith(f"{MODEL}:tuned@")


def test_a_file_of_another_purpose_is_refused(shared: Tuning) -> None:
    file = shared.uploaded(purpose="assistants")
    with pytest.raises(openai.BadRequestError, match="uploaded with purpose 'assistants', not fine-tune") as refused:
        shared.created(training_file=file)
    assert refused.value.param == "training_file"


def test_unknown_jobs_are_404(shared: Tuning) -> None:
    jobs = shared.client.fine_tuning.jobs
    for call in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events, jobs.checkpoints.list):
        with pytest.raises(openai.NotFoundError, match="no fine-tuning job 'ftjob-x'"):
            call("ftjob-x")


def test_what_is_not_held_is_refused_by_name(shared: Tuning) -> None:
    permissions = shared.client.fine_tuning.checkpoints.permissions
    name = f"{MODEL}:tuned:step-3"
    for call in (
        lambda: permissions.create(name, project_ids=["p"]),
        lambda: permissions.retrieve(name),
        lambda: permissions.list(name),
        lambda: permissions.delete("cp_1", fine_tuned_model_checkpoint=name),
    ):
        with pytest.raises(openai.BadRequestError, match="permissions of checkpoints are not supported"):
            call()
    with pytest.raises(openai.BadRequestError, match="graders are for reinforcement"):
        shared.client.fine_tuning.alpha.graders.validate(grader={"type": "string_check"})  # type: ignore[typeddict-item]


def test_a_key_is_asked_for_as_everywhere(tmp_path: Path) -> None:
    with tuning_server(tmp_path, api_key="secret") as tuning:
        assert tuning.http.get("/fine_tuning/jobs").status_code == 401
        assert tuning.http.post("/fine_tuning/jobs", json={}).status_code == 401
        assert tuning.client.fine_tuning.jobs.list().data == []


def test_no_more_jobs_wait_than_may(tmp_path: Path) -> None:
    with tuning_server(tmp_path, command=fake_command(steps=1000, pause_s=0.05), max_open=2) as tuning:
        jobs = [tuning.created() for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="2 fine-tuning jobs wait already") as refused:
            tuning.created()
        assert "retry-after" in refused.value.response.headers
        for job in jobs:
            tuning.client.fine_tuning.jobs.cancel(job.id)
        assert tuning.created().status == "validating_files"
