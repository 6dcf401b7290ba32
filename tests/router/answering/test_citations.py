from dataclasses import replace

import pytest
from fakes.engines import passage
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.passage import Passage
from router.answering.citations import Citation, are_supported, cite, terms, weight, without_function_words

DESK = passage("The desk opens at nine.", document="desk", title="Desk")
BOAT = passage("The boat leaves at noon.", document="boat", rank=2, title="Boat")


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("nine", ["desk"]),
        ("at noon, with the boat", ["boat"]),
        ("noon [1]", ["desk"]),  # a marker is the model's own word
        ("both [1] and [2]", ["desk", "boat"]),
        ("[7]", []),
        ("the boat leaves at noon, `rows[1]`", ["boat"]),  # code has brackets of its own
        ("the boat leaves at noon\n```\nrows[1]\n```", ["boat"]),
        ("the boat leaves at noon [1](https://x.test)", ["boat"]),  # a link, too
        ("quarter past eleven", []),
        ("the of and", []),  # function words support nothing
        ("", []),
    ],
)
def test_cite_names_the_passages_an_answer_rests_on(text: str, cited: list[str]) -> None:
    assert [citation.document_id for citation in cite(text, (DESK, BOAT))] == cited


def test_a_document_is_cited_once_by_its_best_passage() -> None:
    first = replace(passage("Opening hours of the desk.", document="desk"), page=1)
    second = replace(passage("At nine the desk opens.", document="desk", rank=2), page=7)
    (citation,) = cite("the desk opens at nine", (first, second))
    assert (citation.rank, citation.page, citation.quote) == (2, 7, second.text)


def test_a_quote_is_cited_by_the_page_it_stands_on() -> None:
    found = replace(
        passage("Opens at nine. Closes at five.", document="desk"), page=3, page_starts=((0, 2), (5, 3), (15, 4))
    )
    assert [citation.page for citation in cite("five", (found,))] == [4]
    assert [citation.page for citation in cite("nine", (found,))] == [2]
    assert [citation.page for citation in cite("zebra [1]", (found,))] == [3]


def test_an_annotation_is_openais_with_rank_page_and_quote() -> None:
    found = replace(
        passage("Closed on Monday. Opens at nine.", document="file-1", title="Desk"), source="desk.pdf", page=3
    )
    (citation,) = cite("nine", (found,))
    assert citation.annotation() == {
        "type": "file_citation",
        "file_id": "file-1",
        "filename": "desk.pdf",
        "index": 4,
        "rank": 1,
        "page": 3,
        "quote": "Opens at nine.",
        "start": 18,
        "end": 32,
    }


def test_what_is_not_known_is_left_out_of_an_annotation() -> None:
    (citation,) = cite("zebra [1]", (passage("The desk opens at nine.", document="desk"),))
    assert citation.annotation() == {
        "type": "file_citation",
        "file_id": "desk",
        "filename": "desk",
        "index": 6,
        "rank": 1,
    }


TEXT = """# Hours

The library was founded in 1905. Mrs. Smith ran the desk. It opens
at nine. Dr. Jones closed it at five.

| day | opens |
| Monday | ten |
| Sunday | never |
"""


@pytest.mark.parametrize(
    ("answer", "quote"),
    [
        ("1905", "The library was founded in 1905."),
        ("Mrs. Smith", "Mrs. Smith ran the desk."),
        ("nine", "It opens\nat nine."),  # a wrapped line is no end
        ("at five", "Dr. Jones closed it at five."),  # nor is the point of a title
        ("Monday at ten", "| Monday | ten |"),
        ("founded in 1905 and run by Smith", "The library was founded in 1905. Mrs. Smith ran the desk."),
    ],
)
def test_the_quote_is_the_sentence_or_row_that_supports_the_answer(answer: str, quote: str) -> None:
    (citation,) = cite(answer, (passage(TEXT),))
    assert citation.quote == quote == TEXT[citation.start : citation.end]


def test_the_question_chooses_among_sentences_that_hold_the_answer() -> None:
    found = passage("The boat leaves at nine. The desk opens at nine. The bar closes at nine.")
    assert cite("nine", (found,), "When does the desk open, and who opens it?")[0].quote == "The desk opens at nine."
    assert cite("nine", (found,), "When does the boat leave?")[0].quote == "The boat leaves at nine."


def test_a_line_without_any_end_is_quoted_in_part() -> None:
    text = "word " * 20_000 + "the answer is forty-two " + "word " * 20_000
    (citation,) = cite("forty-two", (passage(text),))
    assert "forty-two" in citation.quote
    assert len(citation.quote) <= 320


@pytest.mark.parametrize(
    ("answer", "cited"),
    [
        ('"The desk opens at nine."', [("desk", "The desk opens at nine")]),
        ("The rules say “the desk  opens at\u00a0nine”, so go then.", [("desk", "The desk opens at nine")]),
        ('"The desk opens at ten"', []),  # nobody wrote that
        ('"The desk opens at ten" [1]', []),
        ('"The desk opens at ten" [1]. The boat leaves at noon [2].', [("boat", "The boat leaves at noon.")]),
        ('It opens at "nine"', [("desk", "nine")]),
        ("« The boat leaves at noon »", [("boat", "The boat leaves at noon")]),
    ],
)
def test_words_in_quotation_marks_are_checked(answer: str, cited: list[tuple[str, str]]) -> None:
    assert [(citation.document_id, citation.quote) for citation in cite(answer, (DESK, BOAT))] == cited


def test_a_name_in_quotation_marks_does_not_cite_all_that_mention_it() -> None:
    found = (
        passage('"Ulysses" has 18 episodes.', document="a"),
        passage('Joyce wrote "Ulysses".', document="b", rank=2),
    )
    answer = 'The novel "Ulysses" has 18 episodes'
    assert [citation.document_id for citation in cite(answer, found)] == ["a"]


def in_language(*texts: str) -> tuple[Passage, ...]:
    return tuple(passage(text, document=str(i), rank=i + 1) for i, text in enumerate(texts))


JAPANESE = in_language(
    "受付は九時に開きます。日曜日は休みです。", "利用者カードは無料です。紛失した場合は百円かかります。"
)
GERMAN = in_language(
    "Der Hund liegt auf dem Teppich. Die Tür ist zu.", "Die Katze schläft auf dem Sofa. Es ist drei Uhr."
)
HINDI = in_language("पुस्तकालय सुबह नौ बजे खुलता है। यह शाम पाँच बजे बंद होता है।", "किताब का लेखक प्रेमचंद है।")
THAI = in_language("ห้องสมุดเปิดเวลาเก้าโมงเช้า", "คนเขียนหนังสือเล่มนี้คือสุนทรภู่")
ARABIC = in_language("يفتح المكتب في الساعة التاسعة. ويغلق في الخامسة.", "مؤلف الكتاب هو نجيب محفوظ.")
RUSSIAN = in_language("Стойка открывается в девять. В воскресенье закрыто.", "Книгу написал Толстой.")
FRENCH = in_language("L'atome contient de l'or pur.", "Le musée ferme à midi.")


@pytest.mark.parametrize(
    ("passages", "answer", "cited"),
    [
        (JAPANESE, "九時", [("0", "受付は九時に開きます。")]),
        (JAPANESE, "百円です", [("1", "紛失した場合は百円かかります。")]),
        (JAPANESE, "わかりません", []),
        (GERMAN, "Die Katze schläft auf dem Sofa", [("1", "Die Katze schläft auf dem Sofa.")]),
        (HINDI, "पाँच बजे", [("0", "यह शाम पाँच बजे बंद होता है।")]),
        (THAI, "สุนทรภู่", [("1", "คนเขียนหนังสือเล่มนี้คือสุนทรภู่")]),
        (THAI, "ไม่ทราบ", []),
        (ARABIC, "نجيب محفوظ", [("1", "مؤلف الكتاب هو نجيب محفوظ.")]),
        (RUSSIAN, "в девять", [("0", "Стойка открывается в девять.")]),
        (FRENCH, "or", [("0", "L'atome contient de l'or pur.")]),
    ],
)
def test_citing_works_in_other_scripts_and_languages(
    passages: tuple[Passage, ...], answer: str, cited: list[tuple[str, str]]
) -> None:
    assert [(citation.document_id, citation.quote) for citation in cite(answer, passages)] == cited


WORDS = st.sampled_from(
    [
        *[
            "the",
            "desk",
            "opens",
            "at",
            "nine",
            "boat",
            "noon",
            "九時に",
            "เก้า",
            "Straße",
            '"nine"',
            "[1]",
            "[2]",
            ".",
            "。",
            "?",
            "\n",
            "\n\n",
            "|",
            "🙂",
            "«x»",
            "́",
        ]
    ]
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(WORDS, max_size=12), st.lists(st.lists(WORDS, max_size=40), max_size=3), st.lists(WORDS, max_size=5))
def test_a_quote_always_stands_in_its_passage(answer: list[str], found: list[list[str]], query: list[str]) -> None:
    passages = tuple(passage(" ".join(words), document=str(i), rank=i + 1) for i, words in enumerate(found))
    for citation in cite(" ".join(answer), passages, " ".join(query)):
        text = passages[citation.rank - 1].text
        assert text[citation.start : citation.end] == citation.quote
        assert 0 <= citation.index <= len(" ".join(answer))
        assert isinstance(citation, Citation)


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


def test_a_sentence_is_supported_by_a_passage_that_holds_half_of_its_words() -> None:
    passages = ("The loan desk opens at nine on Monday.", "The café serves soup.")
    text = "The loan desk opens at nine [1]. Purple elephants dance on Monday! Soup is served [7]. **[2]**"
    assert are_supported(text, passages) == (True, False, True, True)
    assert are_supported("", passages) == ()
    assert are_supported("Anything at all.", ()) == (False,)
