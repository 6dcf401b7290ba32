import re
import subprocess
import sys
from pathlib import Path

import pytest

from arbiter.config.loading import load_config
from arbiter.config.schema import Config
from storage.errors import ArbiterError
from tuning.methods.registry import METHODS
from tuning.objectives.kto import Kto
from tuning.objectives.preference import Dpo, Simpo

ENV: dict[str, str] = {}
REPOSITORY = Path(__file__).parents[3]


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


def test_a_number_of_an_objective_goes_with_its_name(tmp_path: Path) -> None:
    text = "data: corpus\nadapters: {polite: {objective: kto}}\n"
    config = load(tmp_path, "adapters.polite.objective.beta=0.3", text=text)
    assert config.adapters["polite"].objective == Kto(beta=0.3)
    env = {"ARBITER_ADAPTERS__POLITE__OBJECTIVE": "dpo", "ARBITER_ADAPTERS__POLITE__OBJECTIVE__BETA": "0.7"}
    assert load(tmp_path, text=text, env=env).adapters["polite"].objective == Dpo(beta=0.7)
    assert load(tmp_path, "adapters.polite.objective=simpo", text=text).adapters["polite"].objective == Simpo()


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_a_config_is_the_same_after_it_was_written_down(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ["seed=7", "arms.hybrid=null", "arms.7={index: documents}", "race=null"], ENV)
    again = load_config(written(tmp_path, config.to_yaml()), [], ENV)
    assert again == config
    assert again.fingerprint() == config.fingerprint()


def test_data_in_the_file_counts_from_the_file_and_in_an_override_from_here(tmp_path: Path) -> None:
    assert load(tmp_path).data == tmp_path / "corpus"
    assert load(tmp_path, "data=corpus").data == Path("corpus").resolve()


def test_a_model_beside_the_file_is_found_from_everywhere(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    text = "data: corpus\nmodel: ./models/mine\nembedder: org/name\n"
    config = load(tmp_path, text=text)
    assert (config.model, config.embedder) == (str(tmp_path / "models" / "mine"), "org/name")


def test_overrides_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "data: corpus\nlimits: {questions: 1, train_rows: 1}\nseed: 1\n"
    env = {"ARBITER_LIMITS__QUESTIONS": "2", "ARBITER_LIMITS__TRAIN_ROWS": "2", "ARBITER_HOME": "/tmp/x"}
    config = load(tmp_path, "limits.questions=3", text=text, env=env)
    assert (config.limits.questions, config.limits.train_rows, config.seed) == (3, 2, 1)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("ARBITER_LIMIT__QUESTIONS", "unknown key (did you mean 'LIMITS'?)"),
        ("ARBITER_LIMITS_QUESTIONS", "unknown key (as ARBITER_SECTION__KEY, with two underscores)"),
        ("ARBITER_MODLE", "unknown key (did you mean 'MODEL'?)"),
        ("ARBITER_HOME__KEY", "unknown key"),
        ("ARBITER_XYZZY", "unknown key"),
    ],
)
def test_names_of_the_environment_that_are_no_key_are_refused(tmp_path: Path, name: str, fault: str) -> None:
    with pytest.raises(ArbiterError, match=re.escape(f"1 fault: environment {name}: {fault}")):
        load(tmp_path, env={name: "2"})


def test_names_of_the_environment_that_others_read_are_none_of_the_config(tmp_path: Path) -> None:
    names = (
        "HOME",
        "DATABASE",
        "API_KEY",
        "JUDGE_KEY",
        "DEBUG",
        "CPU_LORA",
        "GGUF_CONVERTER",
        "PORT",
        "PORT_80_TCP",
        "SERVICE_HOST",
    )
    assert load(tmp_path, env={f"ARBITER_{name}": "2" for name in names}) == load(tmp_path)


def test_text_in_the_place_of_overrides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match=r"the overrides must be a list, like \['seed=1'\], not text"):
        load_config(written(tmp_path), "seed=1", ENV)


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
    assert "'nonsense' is not an override; write key=value, without spaces" in message
    assert "limits.question: unknown key (did you mean 'questions'?)" in message
    assert "sede: unknown key (did you mean 'seed'?)" in message
    assert "index.top_k must be a whole number from 1 to 1000, not 0" in message
    assert "adapters.raft.rank must be a whole number of at least 1 or null, not 'x'" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("arms.hybrid.adapter=other", "arms.hybrid.adapter: no adapter 'other' (there is closed_book, raft)"),
        ("arms.rag.prompt=long", "arms.rag.prompt: no prompt 'long'"),
        ("mix={other: {x: 0.2}}", "mix.other: no adapter 'other' (there is closed_book, raft)"),
        (
            "mix={raft: {x: 0.6, y: 0.5}}",
            "mix.raft: shares must sum to less than 1, the rest being the data's own rows",
        ),
        (
            "adapters.raft.objective=reward",
            "arms.hybrid.adapter: 'raft' learns what answers are worth, and gives none; name it in objective.reward",
        ),
        (
            "adapters.raft.objective={name: grpo, reward: taste}",
            "adapters.raft.objective.reward: no adapter 'taste' with objective reward (there is none)",
        ),
        ("arms.auto.index=documents", "arms.auto: 'auto'"),
        ("arms={'': {index: documents}}", "arms.: 'auto', ':', '/' and an empty name are taken"),
        ("arms..index=documents", "'arms..index=documents' is not an override; write key=value"),
        ("policy.utility.right=1e308", "policy.utility.right must be a number from -1e+09 to 1e+09, not '1e308'"),
        (
            "policy.traffic.questions=1e-300",
            "policy.traffic.questions must be a number from 0.001 to 1e+12, not '1e-300'",
        ),
        ("policy.prices.prompt=1e300", "policy.prices.prompt must be a number from 0 to 1e+09, not '1e300'"),
        (
            "engine.max_lora_rank=8",
            "adapters.raft: it is served at rank 16, which is over engine.max_lora_rank 8",
        ),
        ("adapters.raft.method=pisa", "must be one of lora, rslora, "),
        ("adapters.raft.method=pisa", "not 'pisa' (did you mean 'pissa'?)"),
        ("adapters.raft.optimizer=moun", "adapters.raft.optimizer must be one of adamw, adamw_8bit, "),
        ("adapters.raft.optimizer=moun", "not 'moun' (did you mean 'muon'?)"),
        ("adapters.raft={method: vera, alpha: 3}", "adapters.raft.alpha: unknown key"),
        ("index.overlap_tokens=500", "overlap_tokens must be from 0 to chunk_tokens - 1, not 500 of 120"),
        ("limits=3", "limits must be a section of keys (train_rows, questions, contradictions, repeats, ...), not 3"),
        (
            "limits=",
            "limits must be a section of keys (train_rows, questions, contradictions, repeats, ...), not empty",
        ),
        ("data=", "data must be a path, not empty"),
        ("data=''", "data must be a path, not empty"),
        ("data=~nobody-of-this-name/x", "data: '~nobody-of-this-name/x' leads nowhere"),
        ("arms=", "arms must be a section of keys, not empty"),
        ("prompts.short=5", "prompts.short must be a section of keys (name, system, passages), not 5"),
        ("policy.metric=[f1]", "policy.metric must be text or a section of keys, not ['f1']"),
        ("policy.metric={label: f1}", "policy.metric must name one under `default`, too"),
        ("policy.utility.wrong=2", "policy.utility.right (1) must be worth more than utility.wrong (2)"),
        ("policy.require.verdicts=[won]", "verdicts.0 must be one of winner, tie, undecided, not 'won'"),
        ("embedding.precision=int8", "embedding.precision must be one of float32, bfloat16, not 'int8'"),
        ("adapters.raft.epochs=.inf", "adapters.raft.epochs must be a number above 0 or null, not inf"),
        ("sweep.space.seed={low: x, high: 1}", "sweep.space.seed.low must be a number, not 'x'"),
        ("seed=true", "seed must be a whole number of at least 0, not True"),
        ("eval.judge.url=http://127.0.0.1:9", "eval.judge.model: missing; it must be text"),
        ("data.x=3", "'data' is not a section"),
        ("arms.rag.indx=documents", "arms.rag.indx: unknown key (did you mean 'index'?)"),
    ],
)
def test_faults_name_the_key(tmp_path: Path, override: str, fault: str) -> None:
    with pytest.raises(ArbiterError) as caught:
        load(tmp_path, override)
    assert fault in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("data: [", "not valid YAML"),
        ("data: " + "[" * 3000, "nested too deeply"),
        ("- a\n", "a config is a mapping"),
        ("", "a config is a mapping"),
        ("seed: 1\n", "data: missing; it must be a path"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ArbiterError) as caught:
        load(tmp_path, text=text)
    assert "x.yaml" in str(caught.value)
    assert fault in str(caught.value)


def test_a_file_without_an_end_is_no_config() -> None:
    with pytest.raises(ArbiterError, match="/dev/zero is no config: it has more than a million characters"):
        load_config("/dev/zero", [], ENV)


def test_keys_are_text_as_they_were_typed(tmp_path: Path) -> None:
    config = load(tmp_path, text="data: corpus\narms: {7: {index: documents}, yes: {}, 2024-01-01: {}}\n")
    assert list(config.arms)[6:] == ["7", "yes", "2024-01-01"]
    with pytest.raises(ArbiterError, match="1: unknown key"):
        load(tmp_path, text="data: corpus\n1: 2\n")


def test_a_missing_file_points_to_the_projects_own(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match=r"configs/demo\.yaml"):
        load_config(tmp_path / "none.yaml", [], ENV)


def test_the_projects_own_configs_are_valid() -> None:
    for path in sorted((Path(__file__).parents[3] / "configs").glob("*.yaml")):
        assert load_config(path, [], ENV).data.is_dir(), path


@pytest.mark.parametrize(
    ("override", "expected"), [("data = x", "x"), ("data=2024", "2024"), ("data=1e3", "1e3"), ("data=007", "007")]
)
def test_text_stays_as_it_was_typed_and_spaces_around_it_do_not_count(override: str, expected: str) -> None:
    assert load_config(None, [override], ENV).data == Path(expected).resolve()


def test_words_with_spaces_between_are_told_how_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match="'=' is not an override; write key=value, without spaces"):
        load(tmp_path, "data", "=", "x")


def test_importing_the_schema_loads_no_weights_library() -> None:
    heavy = ("torch", "faiss", "transformers", "ragas", "langchain", "sqlalchemy", "numpy", "vllm", "fastapi")
    code = f"import sys, arbiter.config; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_methods_config_has_an_arm_of_every_method_that_a_cpu_can_train() -> None:
    config = load_config(Path(__file__).parents[3] / "configs" / "methods.yaml", (), ENV)
    assert {arm.adapter: config.adapters[arm.adapter].method for arm in config.arms.values() if arm.adapter} == {
        name: name for name, method in METHODS.items() if not method.needs_cuda
    }
    assert config.race is None
    assert {adapter.passages for adapter in config.adapters.values()} == {0}
