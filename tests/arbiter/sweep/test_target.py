import re
from dataclasses import replace
from typing import Any

import pytest

from arbiter.config.schema import Config
from arbiter.sweep.target import apply_settings, resolve_sweep, room_for_ranks
from eval.sweep.space import Choices, Range, SweepSettings
from storage.errors import ArbiterError
from tuning.automatic import settled
from tuning.methods.registry import METHODS
from tuning.objectives.kto import Kto


def config(**values: Any) -> Config:
    return Config.model_validate({"data": "x", **values})


def search(arm: str | None, **space: Any) -> SweepSettings:
    return SweepSettings(arm=arm, space={key.replace("__", "."): v for key, v in space.items()})


@pytest.mark.parametrize(
    ("arm", "keys"),
    [
        ("fewshot", ["arms.fewshot.top_k"]),
        ("rag", ["arms.rag.top_k", "index.chunk_tokens"]),
        ("tuned", [f"adapters.closed_book.{key}" for key in ("rank", "learning_rate", "epochs", "batch_size")]),
        (
            "hybrid",
            [
                "arms.hybrid.top_k",
                "index.chunk_tokens",
                *[f"adapters.raft.{key}" for key in ("rank", "learning_rate", "epochs", "batch_size")],
            ],
        ),
    ],
)
def test_without_a_space_the_usual_settings_of_the_arms_parts_are_searched(arm: str, keys: list[str]) -> None:
    target = resolve_sweep(config(), search(arm))
    assert list(target.space) == keys
    assert list(target.defaults) == keys


def test_the_users_settings_are_the_defaults_and_lie_in_the_space() -> None:
    mine = config(index={"top_k": 3, "chunk_tokens": 100}, adapters={"raft": {"rank": 4, "epochs": 5}})
    target = resolve_sweep(mine, search("hybrid"))
    assert target.defaults == {
        "arms.hybrid.top_k": 3,
        "index.chunk_tokens": 100,
        "adapters.raft.rank": 4,
        "adapters.raft.learning_rate": 1e-3,
        "adapters.raft.epochs": 5.0,
        "adapters.raft.batch_size": 4,
    }
    assert target.space["arms.hybrid.top_k"] == Choices((1, 2, 3, 4))
    assert target.space["index.chunk_tokens"] == Choices((60, 90, 100, 120, 180, 240))
    assert target.space["adapters.raft.rank"] == Choices((4, 8, 16, 32))


def test_the_numbers_of_an_objective_can_be_searched() -> None:
    mine = config(adapters={"closed_book": {"objective": {"name": "kto", "beta": 0.2}}})
    key = "adapters.closed_book.objective.beta"
    target = resolve_sweep(mine, SweepSettings(arm="tuned", space={key: [0.1, 0.5]}))
    assert (target.space, target.defaults) == ({key: Choices((0.1, 0.2, 0.5))}, {key: 0.2})
    assert apply_settings(target.config, {key: 0.5}).adapters["closed_book"].objective == Kto(beta=0.5)
    with pytest.raises(ArbiterError, match=r"objective.gamma: no setting of arm 'tuned'"):
        resolve_sweep(mine, SweepSettings(arm="tuned", space={"adapters.closed_book.objective.gamma": [0.1, 0.5]}))


@pytest.mark.parametrize(
    ("adapter", "ranks", "rates"),
    [
        ({}, (8, 16, 32), (1e-4, 1e-2)),
        ({"method": "vera"}, (64, 128, 256), (1e-3, 1e-1)),
        ({"method": "loha"}, (2, 4, 8), (1e-4, 1e-2)),
        ({"method": "adalora"}, (8, 16), (1e-4, 1e-2)),  # not above its first rank
        ({"method": "tinylora"}, (1, 2, 4), (1e-3, 1e-1)),
        ({"method": "prefix"}, None, (3e-4, 3e-2)),
        ({"method": "full"}, None, (5e-6, 5e-4)),
        ({"learning_rate": 0.05}, (8, 16, 32), (1e-4, 0.05)),  # the user's own is in the space
        ({"objective": "dpo"}, (8, 16, 32), (1e-5, 1e-3)),
    ],
)
def test_what_is_searched_of_a_training_lies_around_the_defaults_of_its_method(
    adapter: dict[str, Any], ranks: tuple[int, ...] | None, rates: tuple[float, float]
) -> None:
    space = resolve_sweep(config(adapters={"closed_book": adapter}), search("tuned")).space
    assert space.get("adapters.closed_book.rank") == (None if ranks is None else Choices(ranks))
    assert space["adapters.closed_book.learning_rate"] == Range(*rates, log=True)
    assert space["adapters.closed_book.epochs"] == Choices((1.0, 2.0, 3.0, 5.0))
    assert space["adapters.closed_book.batch_size"] == Choices((4, 8, 16))


def test_what_is_not_trained_has_no_usual_space() -> None:
    untrained = config(adapters={"closed_book": {"method": "quantized"}})
    with pytest.raises(ArbiterError, match="'tuned' has neither an index nor a training; say what to sweep"):
        resolve_sweep(untrained, search("tuned"))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "quantized"])
def test_every_method_has_a_space_of_its_training(method: str) -> None:
    target = resolve_sweep(config(adapters={"closed_book": {"method": method}}), search("tuned"))
    usual = settled(METHODS[method].recipe())
    assert target.defaults["adapters.closed_book.learning_rate"] == usual.learning_rate
    assert ("adapters.closed_book.rank" in target.space) == hasattr(usual, "rank")


def test_a_batch_is_searched_among_those_that_its_parts_divide() -> None:
    mine = config(adapters={"closed_book": {"accumulate": 8, "batch_size": 8}})
    assert resolve_sweep(mine, search("tuned")).space["adapters.closed_book.batch_size"] == Choices((8, 16))


def test_lists_and_ranges_are_read_as_the_config_reads_values() -> None:
    given = search(
        "hybrid",
        adapters__raft__learning_rate={"low": "1e-4", "high": "3e-3", "log": True},  # what YAML makes of 1e-4
        adapters__raft__epochs=[1, "2"],
        index__chunk_tokens={"low": 60, "high": 240, "step": 20},
        arms__hybrid__prompt=["answer", "fewshot"],
        arms__hybrid__sampling__temperature=[0.0, 0.7],
    )
    target = resolve_sweep(config(), given)
    assert target.space == {
        "adapters.raft.learning_rate": Range(1e-4, 3e-3, log=True),
        "adapters.raft.epochs": Choices((1.0, 2.0)),
        "index.chunk_tokens": Range(60, 240, step=20),
        "arms.hybrid.prompt": Choices(("answer", "fewshot")),
        "arms.hybrid.sampling.temperature": Choices((0.0, 0.7)),
    }
    assert target.defaults["arms.hybrid.sampling.temperature"] == 0.0


def test_every_fault_is_listed_at_once() -> None:
    given = search(
        "hybrid",
        index__chunk_token=[60],
        index__chunk_tokens={"low": 10, "high": 240, "step": 10},
        adapters__raft__learning_rate={"low": 1e-2, "high": 1e-3},
        adapters__raft__dropout=[],
        adapters__closed_book__rank=[8],
        arms__rag__top_k=[1],
        arms__hybrid__prompt=["terse"],
        arms__hybrid__top_k={"low": 1.0, "high": 2.0},
        engine__max_loras=[1],
    )
    with pytest.raises(ArbiterError) as caught:
        resolve_sweep(config(), given)
    for fault in (
        "the sweep has 9 faults",
        "sweep.space.index.chunk_token: no setting of arm 'hybrid' (did you mean 'index.chunk_tokens'?)",
        "index.chunk_tokens: 10 is not possible: index.overlap_tokens must be from 0 to chunk_tokens - 1, not 20 of 10",
        "adapters.raft.learning_rate: low 0.01 must be below high 0.001",
        "adapters.raft.dropout: the list of choices is empty; give at least one",
        "adapters.closed_book.rank: no setting of arm 'hybrid' (did you mean 'adapters.raft.rank'?)",
        "arms.rag.top_k: no setting of arm 'hybrid' (did you mean",
        "arms.hybrid.prompt: 'terse' is not possible: arms.hybrid.prompt: no prompt 'terse'",
        "arms.hybrid.top_k: 1.32 is not possible",
        "engine.max_loras: no setting of arm 'hybrid'",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (search("nope", x=[]), "sweep.arm: no arm 'nope' (there is base, fewshot, rag, tuned, tuned_rag, hybrid)"),
        (search("nope", x=[]), "sweep.space.x: the list of choices is empty"),
        (search("nope", x=[]), "sweep.space.x: unknown key"),
        (search(None), "sweep.arm is missing"),
        (search("base"), "arm 'base' has neither an index nor a training; say what to sweep in sweep.space"),
        (search("base", index__top_k=[1]), "index.top_k: no setting of arm 'base'"),
        (
            search("base", arms__base__retrieval__mode=["bm25"]),
            "arms.base.retrieval.mode: no setting of arm 'base'",
        ),
        (search("base", arms__base__condense=["last"]), "arms.base.condense: no setting of arm 'base'"),
        (search("rag", embedding__precision=["bfloat16"]), "embedding.precision: no setting of arm 'rag'"),
        (search("rag", index__database=["sqlite:///a"]), "index.database: no setting of arm 'rag'"),
        (search("rag", index={"low": 1, "high": 2}), "sweep.space.index: no setting of arm 'rag'"),
        (search("rag", arms__rag__prompt={"low": 1, "high": 2}), "arms.rag.prompt: 1 is not possible"),
    ],
)
def test_a_search_that_cannot_be_is_refused(given: SweepSettings, fault: str) -> None:
    with pytest.raises(ArbiterError, match=re.escape(fault)):
        resolve_sweep(config(), given)


def test_an_unknown_key_of_the_section_is_refused() -> None:
    with pytest.raises(ArbiterError, match=r"trails: unknown key \(did you mean 'trials'\?\)"):
        SweepSettings(arm="rag", trails=3)  # type: ignore[call-arg]


def test_a_value_that_only_fits_with_others_of_the_space_is_possible() -> None:
    target = resolve_sweep(config(), search("rag", index__chunk_tokens=[10, 120], index__overlap_tokens=[0, 20]))
    assert target.space["index.chunk_tokens"] == Choices((10, 120))
    with pytest.raises(ArbiterError, match=r"overlap_tokens must be from 0 to chunk_tokens - 1, not 20 of 10"):
        apply_settings(target.config, {"index.chunk_tokens": 10, "index.overlap_tokens": 20})


def test_how_documents_are_cut_and_ranked_may_be_searched() -> None:
    space = {"index.strategy": ["tokens", "parent_child"], "index.retrieval.mode": ["dense", "hybrid"]}
    target = resolve_sweep(config(), SweepSettings(arm="rag", space=space))
    assert target.defaults == {"index.strategy": "structure", "index.retrieval.mode": "hybrid"}
    changed = apply_settings(target.config, {"index.strategy": "parent_child", "index.retrieval.mode": "dense"})
    assert (changed.index.strategy, changed.index.retrieval.mode) == ("parent_child", "dense")


def test_an_arms_own_ranking_begins_with_that_of_the_index() -> None:
    mine = config(index={"retrieval": {"fusion": "rrf", "candidates": 30}})
    space = {"arms.rag.retrieval.mode": ["dense", "hybrid"], "index.retrieval.candidates": [30, 40]}
    target = resolve_sweep(mine, SweepSettings(arm="rag", space=space))
    assert target.defaults == {"arms.rag.retrieval.mode": "hybrid", "index.retrieval.candidates": 30}
    changed = apply_settings(target.config, {"arms.rag.retrieval.mode": "dense", "index.retrieval.candidates": 40})
    own = changed.arms["rag"].retrieval
    assert own is not None
    assert (own.mode, own.fusion, own.candidates) == ("dense", "rrf", 40)
    assert changed.arms["hybrid"].retrieval is None


def test_the_indexs_ranking_is_no_matter_of_an_arm_with_its_own() -> None:
    mine = config(arms={"rag": {"retrieval": {"mode": "bm25"}}})
    given = SweepSettings(arm="rag", space={"index.retrieval.mode": ["dense"]})
    with pytest.raises(ArbiterError, match=r"no setting of arm 'rag' \(did you mean 'arms\.rag\.retrieval\.mode'\?\)"):
        resolve_sweep(mine, given)


def test_another_adapter_may_be_searched_with_its_settings() -> None:
    given = search("hybrid", arms__hybrid__adapter=["raft", "closed_book"], adapters__closed_book__epochs=[1, 3])
    assert resolve_sweep(config(), given).defaults == {"arms.hybrid.adapter": "raft", "adapters.closed_book.epochs": 3}


def test_the_engine_gets_room_for_the_largest_rank_and_the_words_say_so() -> None:
    mine = config()
    target = resolve_sweep(mine, search("tuned", adapters__closed_book__rank=[8, 64]))
    assert target.config.engine.max_lora_rank == 64
    assert room_for_ranks(mine, [("adapters.closed_book.rank", 64)]) == {"engine.max_lora_rank": 64}
    assert room_for_ranks(mine, [("adapters.closed_book.rank", 16)]) == {}


def test_applied_settings_leave_the_rest_alone_and_removed_arms_away() -> None:
    mine = config(
        arms={"tuned": None, "hybrid": {"top_k": 3}, "mine": {"index": "documents"}}, adapters={"raft": {"rank": 4}}
    )
    changed = apply_settings(mine, {"arms.mine.top_k": 1, "arms.mine.sampling.max_tokens": 5, "index.chunk_tokens": 99})
    assert list(changed.arms) == list(mine.arms)
    assert changed.arms["hybrid"] == mine.arms["hybrid"]
    assert changed.adapters == mine.adapters
    assert changed.arms["mine"].top_k == 1
    assert changed.arms["mine"].sampling == replace(mine.sampling, max_tokens=5)
    assert changed.index.chunk_tokens == 99
    assert apply_settings(mine, {}) == mine
