from pathlib import Path

import pytest

from arbiter.config import Config, data_home, load_config
from storage.errors import ArbiterError

ENV: dict[str, str] = {}


def written(folder: Path, text: str = "data: corpus\n") -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def load(folder: Path, *overrides: str, text: str = "data: corpus\n", env: dict[str, str] | None = None) -> Config:
    return load_config(written(folder, text), overrides, ENV if env is None else env)


def test_defaults_are_the_standard_grid(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert list(config.arms) == ["base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"]
    assert {name: adapter.passages for name, adapter in config.adapters.items()} == {"closed_book": 0, "raft": 2}


def test_data_in_the_file_counts_from_the_file_and_in_an_override_from_here(tmp_path: Path) -> None:
    assert load(tmp_path).data == tmp_path / "corpus"
    assert load(tmp_path, "data=corpus").data == Path("corpus")


def test_overrides_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "data: corpus\nlimits: {questions: 1, train_rows: 1}\nseed: 1\n"
    env = {"ARBITER_LIMITS__QUESTIONS": "2", "ARBITER_LIMITS__TRAIN_ROWS": "2", "ARBITER_HOME": "/tmp/x"}
    config = load(tmp_path, "limits.questions=3", text=text, env=env)
    assert (config.limits.questions, config.limits.train_rows, config.seed) == (3, 2, 1)


def test_an_arm_is_added_changed_or_taken_away(tmp_path: Path) -> None:
    config = load(tmp_path, "arms.wide.index=documents", "arms.hybrid.top_k=5", "arms.fewshot=null")
    assert "fewshot" not in config.arms
    assert config.arms["wide"].index == "documents"
    assert (config.arms["hybrid"].top_k, config.arms["hybrid"].adapter) == (5, "raft")


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError) as caught:
        load(tmp_path, "limits.question=60", "index.top_k=0", "sede=1", "nonsense", "adapters.raft.rank=x")
    message = str(caught.value)
    assert "5 faults" in message
    assert "'nonsense' is not an override; write key=value" in message
    assert "limits.question: unknown key (did you mean 'questions'?)" in message
    assert "sede: unknown key (did you mean 'seed'?)" in message
    assert "index.top_k: input should be greater than or equal to 1, not 0" in message
    assert "adapters.raft.rank" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("arms.hybrid.adapter=other", "arms.hybrid.adapter: no adapter 'other' (there is closed_book, raft)"),
        ("arms.rag.prompt=long", "arms.rag.prompt: no prompt 'long'"),
        ("arms.auto.index=documents", "arms.auto: 'auto'"),
        ("adapters.raft.rank=64", "adapters.raft.rank: 64 is over engine.max_lora_rank 16"),
        ("index.overlap_tokens=500", "overlap_tokens must be from 0 to chunk_tokens - 1, not 500 of 120"),
        ("limits=3", "limits"),
        ("data.x=3", "'data' is not a section"),
        ("arms.rag.indx=documents", "arms.rag.indx: unknown key (did you mean 'index'?)"),
    ],
)
def test_faults_name_the_key(tmp_path: Path, override: str, fault: str) -> None:
    with pytest.raises(ArbiterError) as caught:
        load(tmp_path, override)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("data: [", "not valid YAML"),
        ("- a\n", "a config is a mapping"),
        ("", "a config is a mapping"),
        ("seed: 1\n", "data: missing"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ArbiterError) as caught:
        load(tmp_path, text=text)
    assert "x.yaml" in str(caught.value)
    assert fault in str(caught.value)


def test_a_missing_file_points_to_the_projects_own(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match=r"configs/demo\.yaml"):
        load_config(tmp_path / "none.yaml", [], ENV)


def test_the_policy_does_not_change_what_was_asked(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert load(tmp_path, "policy.margin=0.1", "engine.ready_timeout_s=9").fingerprint() == config.fingerprint()
    assert load(tmp_path, "index.top_k=3").fingerprint() != config.fingerprint()
    assert load(tmp_path, "policy.metric=exact_match").fingerprint() != config.fingerprint()


def test_the_projects_own_configs_are_valid() -> None:
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")):
        assert load_config(path, [], ENV).data.is_dir(), path


def test_home_is_a_setting(tmp_path: Path) -> None:
    assert data_home({"ARBITER_HOME": str(tmp_path)}) == tmp_path
    assert data_home({}) == Path(".arbiter").resolve()
