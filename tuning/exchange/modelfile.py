"""An Ollama Modelfile whose TEMPLATE writes a conversation as the model's chat template does.

pieces = find_pieces(render)                       # render(messages, opens) -> text
modelfile("./model.gguf", pieces, stops, system=None)

Most chat templates put something before and after each message, by its role, and something before the answer. What it
is, is read off conversations of known words, and then tried on others: the same template in Go's words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.errors import TuningError

Message = Mapping[str, str]
Render = Callable[[Sequence[Message], bool], str]
Around = tuple[str, str]

_SYSTEM, _FIRST, _ANSWER, _SECOND = "Wsystem", "Wfirst", "Wanswer", "Wsecond"


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands around the messages of each role, `head` before all of them, and `opening` before the answer.

    `system` is None for a template that takes no system message; `usual_system` is the message that it puts in where
    there is none.
    """

    head: str
    user: Around
    assistant: Around
    opening: str
    system: Around | None = None
    usual_system: str | None = None

    def write(self, messages: Sequence[Message]) -> str:
        """What the Modelfile's template makes of a conversation that is to be answered."""
        around = {"user": self.user, "assistant": self.assistant, "system": self.system or ("", "")}
        if self.usual_system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.usual_system}, *messages]
        told = [around[one["role"]][0] + one["content"] + around[one["role"]][1] for one in messages]
        return self.head + "".join(told) + self.opening


def renderer(tokenizer: Any) -> Render:
    """A tokenizer's chat template, without the first token that an engine puts before every text itself."""
    first = tokenizer.bos_token or ""
    is_put = bool(first) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]

    def render(messages: Sequence[Message], opens: bool) -> str:
        told = [dict(one) for one in messages]
        text: str = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=opens)
        return text.removeprefix(first) if is_put else text

    return render


def stops(tokenizer: Any, pieces: Pieces) -> tuple[str, ...]:
    """What ends an answer: the model's last token, and what stands behind an answer in a conversation."""
    found = (tokenizer.eos_token or "", pieces.assistant[1].strip())
    return tuple(dict.fromkeys(one for one in found if one))


def find_pieces(render: Render) -> Pieces:
    """Raises TuningError for a chat template that cannot be told by pieces, or not in Go's words."""
    refused = TuningError(
        "this chat template puts more than something before and after each message, so no Modelfile is made of it; "
        "take --as gguf, whose file has the template in it"
    )

    def rendered(messages: Sequence[Message], opens: bool) -> str:
        try:
            return render(messages, opens)
        except Exception as error:  # whatever a template raises for roles that it does not take
            raise _OtherShape from error

    try:
        pieces = _with_system(rendered, _without_system(rendered))
    except _OtherShape:
        raise refused from None
    parts = (pieces.head, *pieces.user, *pieces.assistant, *(pieces.system or ()), pieces.opening)
    if any(sign in part for part in (*parts, pieces.usual_system or "") for sign in ("{{", '"""')):
        raise refused
    return pieces


def modelfile(weights: str, pieces: Pieces, ends: Sequence[str], *, system: str | None) -> str:
    """The text of a Modelfile beside its weights, a path. Raises TuningError for a system message it cannot hold."""
    if system is not None and pieces.system is None:
        raise TuningError("the chat template takes no system message; leave --system out, and put it into the question")
    if system is not None and '"""' in system:
        raise TuningError('a Modelfile cannot hold a system message with """ in it; write it with other quotes')
    roles = {"system": pieces.system, "user": pieces.user, "assistant": pieces.assistant}
    branches = [
        f'if eq .Role "{role}" }}}}' + around[0] + "{{ .Content }}" + around[1]
        for role, around in roles.items()
        if around is not None
    ]
    each = "{{ else ".join(branches)
    template = pieces.head + "{{ range .Messages }}{{ " + each + "{{ end }}{{ end }}" + pieces.opening
    lines = [f"FROM {weights}", f'TEMPLATE """{template}"""']
    lines += [f'PARAMETER stop "{end}"' for end in ends]
    # As an evaluation asks, unless its config says otherwise.
    lines += ["PARAMETER temperature 0"]
    if (told := system if system is not None else pieces.usual_system) is not None:
        lines += [f'SYSTEM """{told}"""']
    return "\n".join(lines) + "\n"


class _OtherShape(Exception):  # no error: how a template is, too
    pass


def _without_system(render: Render) -> Pieces:
    first, answer, second = _user(_FIRST), {"role": "assistant", "content": _ANSWER}, _user(_SECOND)
    before, behind = _cut(render([first], False), _FIRST)
    if not (opened := render([first], True)).startswith(before + _FIRST + behind):
        raise _OtherShape
    opening = opened.removeprefix(before + _FIRST + behind)
    _, _, after_answer = _cut(render([first, answer], False), _FIRST, _ANSWER)
    _, to_answer, to_second, _ = _cut(render([first, answer, second], False), _FIRST, _ANSWER, _SECOND)
    if not to_answer.startswith(behind) or not to_second.startswith(after_answer):
        raise _OtherShape
    user = to_second.removeprefix(after_answer), behind
    if not before.endswith(user[0]):
        raise _OtherShape
    head = before.removesuffix(user[0])
    return Pieces(head, user, (to_answer.removeprefix(behind), after_answer), opening)


def _with_system(render: Render, pieces: Pieces) -> Pieces:
    """The pieces with those of a system message, if the template has them."""
    conversation = [_user("one"), {"role": "assistant", "content": "two"}, _user("three")]
    candidates = [pieces]
    try:
        before, after, _ = _cut(render([{"role": "system", "content": _SYSTEM}, _user(_FIRST)], False), _SYSTEM, _FIRST)
    except _OtherShape:
        pass
    else:
        behind = after.removesuffix(pieces.user[0])
        usual = pieces.head.removeprefix(before).removesuffix(behind)
        if pieces.head == before + usual + behind and pieces.head:
            candidates.insert(0, replace(pieces, head="", system=(before, behind), usual_system=usual))
        if before.startswith(pieces.head):
            system = before.removeprefix(pieces.head), behind
            candidates.insert(0, replace(pieces, system=system))
    for made in candidates:
        tried = [conversation, conversation[:1]]
        if made.system is not None:
            tried += [[{"role": "system", "content": "zero"}, *one] for one in tried]
        with contextlib.suppress(_OtherShape):
            if all(render(one, True) == made.write(one) for one in tried):
                return made
    raise _OtherShape


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _cut(text: str, *words: str) -> list[str]:
    """What stands between words that are each there once, in this order."""
    parts = []
    for word in words:
        part, found, text = text.partition(word)
        if not found or word in text:
            raise _OtherShape
        parts.append(part)
    return [*parts, text]
