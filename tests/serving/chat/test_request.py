import pytest

from serving.chat.request import ChatBody
from serving.errors import Invalid
from serving.http.body import read_model

ASKED = [{"role": "user", "content": "When?"}]


def test_a_plain_request() -> None:
    request = read_model(ChatBody, {"model": "rag", "messages": ASKED})
    assert (request.model, request.conversation, request.options) == ("rag", ASKED, {})
    assert not request.stream


def test_model_defaults_to_auto_and_null_means_absent() -> None:
    request = read_model(ChatBody, {"messages": ASKED, "temperature": None, "stream": None, "model": None})
    assert (request.model, request.options) == ("auto", {})


def test_sampling_is_forwarded_and_labels_are_not() -> None:
    body = {"messages": ASKED, "max_completion_tokens": 5, "stop": ["x"], "user": "me", "metadata": {"a": "b"}}
    assert read_model(ChatBody, body).options == {"max_tokens": 5, "stop": ["x"]}


def test_text_parts_are_joined_and_developer_is_system() -> None:
    parts = [{"type": "text", "text": "When"}, {"type": "text", "text": "ever?"}]
    request = read_model(
        ChatBody, {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]}
    )
    assert request.conversation == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "When\never?"},
    ]


def test_as_many_messages_as_openai_takes() -> None:
    assert len(read_model(ChatBody, {"messages": ASKED * 2048}).conversation) == 2048


def test_usage_of_a_stream_is_asked_for() -> None:
    body = {"messages": ASKED, "stream": True, "stream_options": {"include_usage": True}}
    assert read_model(ChatBody, body).stream_options.include_usage
    assert not read_model(ChatBody, {"messages": ASKED, "stream": True}).stream_options.include_usage


def test_values_that_ask_for_what_happens_anyway_are_taken() -> None:
    assert read_model(ChatBody, {"messages": ASKED, "tools": [], "tool_choice": "none", "store": False}).options == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ASKED * 2049}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        # What only the gateway itself sends to the engine.
        ({"messages": ASKED, "prompt_embeds": "UEsDBA=="}, "prompt_embeds"),
        ({"messages": [{"role": "soft_prompt", "content": "x"}, *ASKED]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "prompt_embeds", "data": "UEsDBA=="}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}, *ASKED]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": ASKED, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": ASKED, "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"messages": ASKED, "best_of": 3}, "best_of"),
        ({"messages": ASKED, "model": 3}, "model"),
        ({"messages": ASKED, "stream": "yes"}, "stream"),
        ({"messages": ASKED, "stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": ASKED, "stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"messages": ASKED, "stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(body: object, param: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        read_model(ChatBody, body)
    assert caught.value.param == param
