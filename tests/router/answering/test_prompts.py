from dataclasses import replace

from fakes.engines import passage

from router.answering.prompts import ANSWER, FEWSHOT, SHORT_ANSWER, Prompt


def test_a_bare_question_gets_the_system_message() -> None:
    assert ANSWER.ask("When?") == ({"role": "system", "content": SHORT_ANSWER}, {"role": "user", "content": "When?"})


def test_an_empty_system_text_adds_no_message() -> None:
    assert Prompt("bare", system="").ask("When?") == ({"role": "user", "content": "When?"},)


def test_passages_stand_numbered_before_the_question() -> None:
    found = (passage("Opens at nine.", title="Desk"), passage("Desk two opens at ten.", rank=2, title="Desk two"))
    content = ANSWER.ask("When?", found)[-1]["content"]
    # A title that the text already holds is not repeated.
    assert content == "[1] Desk: Opens at nine.\n[2] Desk two opens at ten.\n\nQuestion: When?"


def test_what_a_passage_stands_under_is_written_before_it() -> None:
    found = replace(passage("| tea | 3 |", title="Prices"), headings=("Drinks", "name | euros"))
    assert ANSWER.ask("What is tea?", (found,))[-1]["content"].startswith("[1] Prices > Drinks > name | euros: | tea |")
    # Nor is a title that is the first heading too, or a heading that the text already holds.
    again = replace(found, headings=("Prices", "Drinks"))
    assert ANSWER.ask("What is tea?", (again,))[-1]["content"].startswith("[1] Prices > Drinks: | tea |")
    whole = replace(found, text="## Drinks\n\ntea is 3", headings=("Drinks",))
    assert ANSWER.ask("What is tea?", (whole,))[-1]["content"].startswith("[1] Prices: ## Drinks")


def test_every_message_of_a_conversation_is_kept_and_the_last_question_gets_the_context() -> None:
    conversation = (
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "When?"},
    )
    rendered = ANSWER.render(conversation, (passage("Opens at nine."),))
    assert rendered[:3] == conversation[:3]
    assert rendered[3:] == ({"role": "user", "content": "[1] Opens at nine.\n\nQuestion: When?"},)


def test_a_prefilled_answer_stays_behind_the_question_with_context() -> None:
    conversation = ({"role": "user", "content": "When?"}, {"role": "assistant", "content": "At"})
    rendered = ANSWER.render(conversation, (passage("Nine."),))
    assert [message["role"] for message in rendered] == ["system", "user", "assistant"]
    assert rendered[1]["content"] == "[1] Nine.\n\nQuestion: When?"


def test_an_example_of_a_conversation_is_shown_after_the_exchange_before_it_and_whole() -> None:
    more = {"answer": "ten", "before": ["When?", "At nine."], "question": "And, if I may ask, on Sundays?"}
    parts = (passage("And, if I", **more), passage("on Sundays?", rank=2, **more))
    shown = [(m["role"], m["content"]) for m in FEWSHOT.ask("new", parts)[1:]]
    assert shown == [
        ("user", "When?"),
        ("assistant", "At nine."),
        ("user", "And, if I may ask, on Sundays?"),
        ("assistant", "ten"),
        ("user", "new"),
    ]


def test_examples_become_turns_with_the_most_similar_one_last() -> None:
    found = (passage("near", answer="A"), passage("far", rank=2, answer="B"))
    roles_and_texts = [(m["role"], m["content"]) for m in FEWSHOT.ask("new", found)[1:]]
    assert roles_and_texts == [
        ("user", "far"),
        ("assistant", "B"),
        ("user", "near"),
        ("assistant", "A"),
        ("user", "new"),
    ]
