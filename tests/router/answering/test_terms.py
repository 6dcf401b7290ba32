import pytest

from router.answering.terms import terms, weight, without_function_words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The desk, the DESK", {"the", "desk"}),
        ("ﬁne Straße", {"fine", "strasse"}),  # one form for what reads the same
        ("नौ बजे", {"नौ", "बजे"}),  # a vowel sign is part of its word
        ("九", {"九"}),
        ("九時に", {"九", "時", "に", "九時", "時に"}),
        ("เก้าโมง", {"เก้", "ก้า", "้าโ", "าโม", "โมง"}),
        ("ไป", {"ไป"}),
        ("PDF九頁", {"pdf", "九", "頁", "九頁"}),
        ("?! …", set()),
    ],
)
def test_terms_are_words_or_what_serves_as_such(text: str, found: set[str]) -> None:
    assert terms(text) == found


def test_english_function_words_are_left_out_of_english_only() -> None:
    english, french = terms("The desk opens"), terms("de l'or pur")
    assert without_function_words(terms("at the or gate"), [english]) == {"gate"}
    assert without_function_words(terms("or"), [french]) == {"or"}


def test_a_word_weighs_up_to_four_letters() -> None:
    assert weight(["a", "die", "Katze", "antidisestablishment"]) == 1 + 3 + 4 + 4
