import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from arbiter.config.loading import load_config
from arbiter.config.schema import Config, config_faults


def config(**values: Any) -> Config:
    return Config.model_validate({"data": "corpus", **values})


def test_the_policy_does_not_change_what_was_asked() -> None:
    same = config()
    engine = {"ready_timeout_s": 9, "max_own_engines": 5}
    assert config(policy={"margin": 0.1}, engine=engine).fingerprint() == same.fingerprint()
    assert config(index={"top_k": 3}).fingerprint() != same.fingerprint()
    assert config(policy={"metric": "exact_match"}).fingerprint() != same.fingerprint()


def test_a_race_goes_by_the_policy_but_not_by_what_the_decision_must_reach() -> None:
    raced_by = config().raced_by()
    assert config().race is not None
    assert config(policy={"margin": 0.1}).raced_by() != raced_by
    assert config(policy={"require": {"score": 0.5}}).raced_by() == raced_by
    assert config(policy={"gates": {"forgetting": 0.5}}).raced_by() == raced_by
    assert config(race=None, policy={"margin": 0.1}).raced_by() == config(race=None).raced_by() == ""


def test_a_folder_that_is_mixed_in_is_one_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spelt = [config(mix={"raft": {folder: 0.2}}) for folder in ("old", "./old", str(tmp_path / "new" / ".." / "old"))]
    assert len({one.fingerprint() for one in spelt}) == 1
    assert "mix" not in config().shaping(), "runs from before are found"
    with pytest.raises(ValidationError, match="learns no examples"):
        config(adapters={"raft": {"objective": "dpo"}}, mix={"raft": {"old": 0.2}})


def test_one_folder_is_one_fingerprint_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "team" / "corpus").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "team")
    (tmp_path / "team" / "x.yaml").write_text("data: corpus\nembedder: ./corpus\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    link, file = tmp_path / "link", tmp_path / "team" / "x.yaml"
    found = set()
    for folder in (tmp_path, tmp_path / "team", tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        near = os.path.relpath(tmp_path / "team", folder)
        for path in (Path(near) / "x.yaml", file, link / "x.yaml"):
            found.add(load_config(path, [], {}).fingerprint())
        for data in (f"{near}/corpus", f"./{near}/corpus/", f"{link}/corpus", "~/team/corpus"):
            found.add(load_config(file, [f"data={data}"], {}).fingerprint())
    assert len(found) == 1
    (tmp_path / "elsewhere" / "corpus").mkdir()
    assert load_config(file, ["data=corpus"], {}).fingerprint() not in found


def test_a_models_folder_has_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    paths = ("./tiny", str(tmp_path / "tiny"))
    near, far = (config(model=path, embedder=path, index={"retrieval": {"reranker": path}}) for path in paths)
    assert near.fingerprint() == far.fingerprint()
    assert (near.model, near.embedder, near.index.retrieval.reranker) == (str(tmp_path / "tiny"),) * 3
    assert config(model="org/tiny").model == "org/tiny"


def test_every_part_has_the_runs_seed_unless_it_has_its_own() -> None:
    made = config(
        seed=5,
        adapters={"raft": {"seed": 1}, "wide": {"rank": 8}},
        arms={"rag": {"sampling": {"seed": 2}}, "base": {"sampling": {}}},
    )
    assert {name: adapter.seed for name, adapter in made.adapters.items()} == {"closed_book": 5, "raft": 1, "wide": 5}
    assert made.sampling.seed == 5
    assert [arm.sampling and arm.sampling.seed for arm in made.arms.values()][:3] == [5, None, 2]


def test_a_prompt_is_called_by_its_key() -> None:
    assert config(prompts={"formal": {"system": "Be formal."}}).prompts["formal"].name == "formal"


def test_a_config_reads_itself() -> None:
    made = config(seed=3, race={"max_cost": 2}, prompts={"p": {}}, policy={"utility": {"wrong": -2}})
    assert Config.model_validate(made.model_dump()) == made


def test_the_engines_rank_follows_what_the_adapters_are_served_at() -> None:
    wide = {"raft": {"method": "pissa", "rank": 24}}
    assert (config().lora_rank, config(adapters=wide).lora_rank) == (16, 48)
    assert config(adapters=wide, engine={"max_lora_rank": 64}).lora_rank == 64
    assert config(adapters={"raft": {"method": "loha", "rank": 2}}).lora_rank == 16


def test_a_config_that_says_nothing_of_objectives_is_what_it_was_before_there_were_others() -> None:
    assert all("objective" not in adapter for adapter in config().shaping()["adapters"].values())
    said = config(adapters={"closed_book": {"objective": "dpo"}})
    assert said.shaping()["adapters"]["closed_book"]["objective"]["beta"] == 0.1
    assert said.fingerprint() != config().fingerprint()
    assert config(adapters={"closed_book": {"objective": "supervised"}}).fingerprint() == config().fingerprint()


@pytest.mark.parametrize(
    ("adapter", "fault"),
    [
        (
            {"objective": "dbo"},
            "objective must be one of supervised, dpo, orpo, simpo, kto, reward, rloo, grpo, ppo, distill, gkd",
        ),
        ({"objective": {"name": "dpo", "gamma": 1}}, "objective.gamma: unknown key (there is name, held_out, measured"),
        ({"objective": {"name": "simpo", "gamma": -1}}, "objective.gamma must be a number of at least 0, not -1"),
        ({"objective": "pretraining", "passages": 1}, "passages (1) must be 0 with objective pretraining"),
        ({"objective": "pretraining", "method": "prefix"}, "objective must be another than 'pretraining' with prefix"),
        # Of several kinds the one that is meant says what it takes.
        ({"method": "hra", "rank": 3}, "rank must be a whole number of at least 2 and a multiple of 2, not 3"),
    ],
)
def test_a_fault_of_an_objective_names_the_key(adapter: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(adapters={"own": adapter})
    (line,) = config_faults(caught.value)
    assert line.startswith(f"adapters.own.{fault}")


@pytest.mark.parametrize(
    ("proposers", "fault"),
    [
        (["rga", "tuned"], r"arms.panel.proposers: no arm 'rga' \(did you mean 'rag'\?\)"),
        (["panel", "rag"], "arms.panel.proposers: 'panel' cannot propose to itself"),
        (["rag", "other"], "arms.panel.proposers: 'other' is a mixture itself"),
        (["rag"], "arms.panel.proposers: 'rag' alone is no mixture"),
        (["rag", "rag"], "arms.panel.proposers: an arm is named twice"),
    ],
)
def test_a_mixture_needs_two_plain_arms_that_exist(proposers: list[str], fault: str) -> None:
    arms = {"panel": {"proposers": proposers}, "other": {"proposers": ["base", "panel"]}}
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate({"data": "corpus", "arms": arms})


def test_a_config_without_mixtures_is_what_it_was_before_there_were_any() -> None:
    plain = Config.model_validate({"data": "corpus"})
    mixed = Config.model_validate({"data": "corpus", "arms": {"panel": {"proposers": ["rag", "tuned"]}}})
    assert "proposers" not in str(plain.shaping())
    assert plain.fingerprint() != mixed.fingerprint()
    assert list(mixed.with_proposers(["panel"])) == ["rag", "tuned", "panel"]
