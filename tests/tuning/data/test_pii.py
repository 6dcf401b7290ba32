from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tuning.data.pii import Kind, Masker, PiiFinder, over_texts
from tuning.errors import TuningError

# Presidio takes seconds to import.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finder() -> PiiFinder:
    return PiiFinder(name_models=())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to Ada.L@corp.internal, please", "Write to <EMAIL_1>, please"),
        ("Call +44 20 7946 0958 now", "Call <PHONE_1> now"),
        ("Call (212) 555-0123", "Call <PHONE_1>"),
        ("IBAN GB82 WEST 1234 5698 7654 32", "IBAN <IBAN_1>"),
        ("IBAN GB82 WEST 1234 5698 7654 33", "IBAN GB82 WEST 1234 5698 7654 33"),  # the check digits are wrong
        ("card 4111-1111-1111-1111", "card <CARD_1>"),
        ("card 4111-1111-1111-1112", "card 4111-1111-1111-1112"),  # Luhn
        ("from 192.168.0.12 and fe80::1", "from <IP_1> and <IP_2>"),
        ("AA:BB:CC:DD:EE:FF", "<MAC_1>"),
        ("postgres://bob:pw@db.example/x is down", "<SECRET_1> is down"),
        ("see https://example.org/?a=1&token=abc123", "see <SECRET_1>"),
        ("see https://example.org/?page=2", "see https://example.org/?page=2"),
        ("AKIAIOSFODNN7EXAMPLE", "<SECRET_1>"),
        ("It cost 1,200,000 in 2019-2020, on 2023-10-12 at 12:13:14.", None),
        ("Who was imprisoned there in 1646 through 1647, and who in 1648–1649?", None),
        ('On 02-13-2024, on 07.02.2023 or on 2023/02/07, ask std::vector or "::"', None),
        ("", None),
    ],
)
def test_what_points_to_a_person_is_masked_and_nothing_else(text: str, masked: str | None, finder: PiiFinder) -> None:
    assert Masker(finder).mask(text) == (text if masked is None else masked)


def test_one_value_has_one_placeholder_however_it_is_written(finder: PiiFinder) -> None:
    masker = Masker(finder)
    assert masker.mask("ada@example.org and bob@example.org") == "<EMAIL_1> and <EMAIL_2>"
    assert masker.mask("BOB@example.org, card 4111 1111 1111 1111") == "<EMAIL_2>, card <CARD_1>"
    assert masker.mask("4111-1111-1111-1111") == "<CARD_1>"
    assert masker.counts == {"EMAIL": 3, "CARD": 2}


def test_a_row_is_masked_in_all_its_texts_but_its_ids(finder: PiiFinder) -> None:
    row = {
        "id": "ada@example.org",
        "doc_ids": ["ada@example.org"],
        "question": "Is ada@example.org right?",
        "answers": ["Yes, ada@example.org"],
        "history": [{"role": "user", "content": "I am ada@example.org"}],
        "metadata": {"from": "ada@example.org", "age": 36, "seen": None},
    }
    assert Masker(finder).mask_row(row) == {
        "id": "ada@example.org",
        "doc_ids": ["ada@example.org"],
        "question": "Is <EMAIL_1> right?",
        "answers": ["Yes, <EMAIL_1>"],
        "history": [{"role": "user", "content": "I am <EMAIL_1>"}],
        "metadata": {"from": "<EMAIL_1>", "age": 36, "seen": None},
    }


def test_only_the_kinds_that_are_wanted_are_found() -> None:
    kinds: tuple[Kind, ...] = ("IP",)
    assert Masker(PiiFinder(kinds)).mask("ada@example.org from 10.0.0.1") == "ada@example.org from <IP_1>"


def test_names_are_found_with_a_model_of_spacy(tmp_path: Path) -> None:
    import spacy

    made = spacy.blank("en")
    ruler = made.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "ORG", "pattern": "Acme"}])  # type: ignore[attr-defined]
    made.to_disk(tmp_path / "names")
    finder = PiiFinder(("NAME", "EMAIL"), name_models=[str(tmp_path / "names")])
    masker = Masker(finder)
    assert masker.mask("Ada Lovelace of Acme, ada@example.org") == "<NAME_1> of Acme, <EMAIL_1>"
    assert finder.name_models == (str(tmp_path / "names"),)


def test_a_model_that_is_not_there_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"the spaCy model '.*none' cannot be loaded: "):
        PiiFinder(("NAME",), name_models=[str(tmp_path / "none")])


def test_without_presidio_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "presidio" in name else known(name))
    with pytest.raises(TuningError, match="needs the package presidio-analyzer; install it: pip install 'arbiter"):
        PiiFinder()


def test_every_text_of_a_value_is_changed() -> None:
    assert over_texts({"a": ["x", 1, {"b": ("y",)}], "role": "user"}, str.upper) == {
        "a": ["X", 1, {"b": ["Y"]}],
        "role": "user",
    }
