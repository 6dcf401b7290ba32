import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from storage.folders import write_manifest
from tuning.export.model_card import GateLine, LossLine, card_text, license_of, write_model_card

MANIFEST: dict[str, Any] = {
    "name": "support@3f9c01ab",
    "base_name": "org/base",
    "base_revision": "r1",
    "base_license": "apache-2.0",
    "chat_template_hash": "t1",
    "method": "pissa",
    "form": "lora",
    "objective": "dpo",
    "recipe": {"learning_rate": 0.001, "max_length": 512, "continue_from": ""},
    "recipe_hash": "abc",
    "rows_hash": "def",
    "num_rows": 250,
    "num_dropped": 7,
    "num_tokens": 12_000,
    "num_steps": 60,
    "training_s": 61.5,
    "final_loss": 0.25,
    "device": "cpu",
    "precision": "float32",
    "energy": {"joules": 7200.0, "is_measured": False, "source": "estimated: 60 s at 120 W, energy.power_w"},
    "parity": {"largest": 2e-6, "effect": 3.0, "tolerance": 3e-3},
    "packages": {"torch": "2.13.0"},
    "provenance": {"data": "/data/support", "data_version": "d1", "notes": ["3 rows | repeat\na question"]},
}
GATES = [
    GateLine("demo-1", "tuned", "Forgetting", "fail", "forgetting: 50% | lost"),
    GateLine("demo-1", "tuned", "Bias", "pass", "bias: 0%"),
]


def test_the_hub_reads_the_card_without_a_network(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    write_model_card(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    data = card.data.to_dict()
    assert data["base_model"] == "org/base"
    assert (data["license"], data["library_name"], data["pipeline_tag"]) == ("apache-2.0", "peft", "text-generation")
    assert data["tags"] == ["arbiter", "pissa", "dpo"]


def test_it_tells_data_numbers_energy_parity_and_license() -> None:
    text = card_text(MANIFEST)
    for said in (
        "250 rows were trained on, 12000 tokens in all",
        "7 rows were left out for being longer than 512 tokens",
        "sha256 of the rows in their order: `def`",
        "data: `support`",
        "data version: `d1`",
        "before the training: 3 rows | repeat a question",
        "61.5 seconds on cpu in float32, 60 steps, loss 0.25 at the end",
        "energy: 2 Wh, estimated: 60 s at 120 W, energy.power_w",
        "| learning_rate | 0.001 |",
        "the largest difference of a logit is 2e-06, of 0.003 that are allowed; training moved them by 3",
        "None was measured. `arbiter gates RUN` measures them",
        "It has not learned from the 7 rows that were too long.",
        "under `apache-2.0`",
    ):
        assert said in text, said


def test_gates_stand_in_a_table_that_no_text_breaks() -> None:
    text = card_text(MANIFEST, GATES)
    assert "Measured by `arbiter gates` on run `demo-1`." in text
    assert "| tuned | Forgetting | fail | forgetting: 50% \\| lost |" in text


def test_it_is_a_function_of_manifest_and_gates(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    write_model_card(tmp_path, GATES)
    first = (tmp_path / "README.md").read_bytes()
    write_model_card(tmp_path)
    assert (tmp_path / "README.md").read_bytes() != first
    write_model_card(tmp_path, GATES)
    assert (tmp_path / "README.md").read_bytes() == first


def test_an_older_manifest_has_a_card_that_says_what_is_unknown() -> None:
    needed = ("name", "base_name", "base_revision", "chat_template_hash")
    text = card_text({key: MANIFEST[key] for key in needed})
    assert "energy: unknown: this adapter was trained before it was looked at" in text
    assert "names no license" in text
    assert "license" not in text.split("---")[1]
    ModelCard(text)


@pytest.mark.parametrize(
    ("config", "card", "found"),
    [
        ({"license": "mit"}, "---\nlicense: other\n---\n# x", "mit"),
        ({}, "---\nlicense: apache-2.0\ntags: [a]\n---\n# x", "apache-2.0"),
        ({}, "# no front matter", None),
        ({"license": ["a"]}, "---\n: :\n---\n", None),
        ([], "", None),
    ],
)
def test_the_license_is_what_the_base_names(tmp_path: Path, config: object, card: str, found: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "README.md").write_text(card)
    assert license_of(tmp_path) == found
    assert license_of(tmp_path / "nowhere") is None


PRUNED: dict[str, Any] = {
    "before": "lora@12ab34cd",
    "kind": "2:4",
    "layer_numbers": 1000,
    "layer_zeros": 500,
    "numbers": 1500,
    "nonzero": 990,
    "num_bytes": 6100,
    "packed_bytes": None,
    "is_trained": True,
}


def test_what_was_pruned_is_told_with_what_a_run_says_that_it_cost() -> None:
    manifest = MANIFEST | {"method": "pruned", "form": "merged", "compression": PRUNED}
    text = card_text(manifest, (), [LossLine("demo-1", "small", "tuned", "token_f1", -0.05, -0.1, 0.01, 60, 0.95)])
    for said in (
        "trained with Arbiter by the method `pruned`",
        "Made of `lora@12ab34cd`: 2:4, and what was left was trained",
        "500 of the 1,000 weights of its layers are 0 (50.00%), 990 of all 1,500 are not",
        "The files take 6,100 bytes, as many as those of a model without zeros or rounding",
        "In run `demo-1` arm small scores -0.050 beside tuned (-0.100 to +0.010, 95% confidence) by token_f1",
    ):
        assert said in text, said
    assert "What it lost" not in card_text(MANIFEST)


def test_what_was_rounded_and_not_trained_is_told() -> None:
    told = PRUNED | {"before": "", "kind": "nf4", "packed_bytes": 2200, "is_trained": False}
    manifest = MANIFEST | {"method": "quantized", "num_steps": 0, "final_loss": None, "compression": told}
    text = card_text(manifest)
    for said in (
        "made with Arbiter by the method `quantized`",
        "250 rows were given, and none was trained on",
        "Made of the base model: nf4, and nothing was trained",
        "rounded, it would take 2,200",
        "What that cost is told here once a run asks it beside an arm of what it was made of.",
    ):
        assert said in text, said
