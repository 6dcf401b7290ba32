from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.documents.clean import clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain ASCII, untouched\n\tby it", "plain ASCII, untouched\n\tby it"),
        ("one\r\ntwo\rthree\x0bfour\x85five", "one\ntwo\nthree\nfour\nfive"),
        ("pay\u200bment\ufeff and hy\u00adphen", "payment and hyphen"),
        ("a\x00b\x07c\x9fd", "abcd"),
        ("\u202eevil\u202c \u2066x\u2069\u200e", "evil x"),
        ("in\U000e0069\U000e0067\U000e006enore", "innore"),
        ("data\ufe01\ufe02\U000e0101 hidden", "data hidden"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("e\u0301t\u00e9", "été"),
        ("ﬁnd the ｆｅｅ of 𝐭𝐞𝐧\u00a0euros", "find the fee of ten euros"),
        ("well\u2011known", "well-known"),
        ("\uf0b7 one \uf0fc", "• one ✓"),
    ],
)
def test_what_a_reader_cannot_see_is_removed_and_what_looks_alike_is_folded(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "x² is ½ of it™ …",
        "👨\u200d👩\u200d👧 and ❤\ufe0f\u200d🔥 and 1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "می\u200cخواهم",
        "क्\u200dष",
        "葛\U000e0100城市",
        "line\u2028separator",
        "Москва, Αθήνα, TNFα, 5 μg, ΔG",
        "рауpal in two alphabets",
    ],
)
def test_characters_that_carry_meaning_stay(text: str) -> None:
    assert clean(text) == text


def test_a_long_word_takes_linear_time() -> None:
    assert len(clean("a" * 2_000_000 + "я")) == 2_000_001


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_changes_nothing_and_gives_nfc(text: str) -> None:
    cleaned = clean(text)

    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)


_TRICKS = st.sampled_from(
    [*"aеоγЖ1 \n\r\u200b\u200c\u200d\ufe0f\u0301\u0308\u00ad", "👩", "❤", "می", "क्", "\U000e0067", "🏴", "ﬁ", "ё", "ﾊﾞ"]
)


@settings(deadline=None)
@given(st.lists(_TRICKS, max_size=12).map("".join))
def test_cleaning_twice_changes_nothing_where_hidden_characters_meet(text: str) -> None:
    assert clean(clean(text)) == clean(text)
