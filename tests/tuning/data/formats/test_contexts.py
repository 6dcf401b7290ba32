from __future__ import annotations

from typing import Any

import pytest

from tuning.data.formats.contexts import contexts_of
from tuning.data.formats.given import Context

DESK, HALL = Context("It opens at nine.", "Desk"), Context("It is green.", "Hall")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("At nine.", (Context("At nine."),)),
        (["At nine.", " "], (Context("At nine."),)),
        ('["At nine."]', (Context("At nine."),)),
        ([{"title": "Desk", "text": "It opens at nine."}], (DESK,)),
        ([{"page_content": "At nine.", "metadata": {}}], (Context("At nine."),)),
        ([["Desk", ["It opens", " at nine."]], ["Hall", ["It is green."]]], (DESK, HALL)),
        ({"title": ["Desk", "Hall"], "sentences": [["It opens", " at nine."], ["It is green."]]}, (DESK, HALL)),
        ([], ()),
        (None, None),
        ([1], None),
        ([{"score": 1}], None),
        ({"a": 1}, None),
    ],
)
def test_texts_are_read_however_they_are_written(value: Any, found: tuple[Context, ...] | None) -> None:
    assert contexts_of(value) == found


@pytest.mark.parametrize("facts", [{"title": ["Desk"], "sent_id": [0]}, [["Desk", 0]]])
def test_only_texts_of_supporting_facts_hold_the_answer(facts: Any) -> None:
    found = contexts_of([["Desk", ["It opens at nine."]], ["Hall", ["It is green."]]], facts)
    assert found == (DESK, Context("It is green.", "Hall", is_gold=False))
