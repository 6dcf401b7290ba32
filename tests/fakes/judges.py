"""Judges for tests: OpenAI-compatible ones that answer by script, on a real HTTP server of this machine.

with serve_judge(reply=noisy(seed=1)) as judge:
    judge.url, judge.requests
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str, Mapping[str, Any]], str]


@dataclass
class ScriptedJudge:
    """`reply(schema, given)` gives the content, honest by default; `status(number)` an HTTP error instead.

    `requests` holds schema and input of every request, `bodies` the request itself. A request waits `delay_s`.
    """

    url: str = ""
    reply: Reply | None = None
    status: Callable[[int], int] = field(default=lambda number: 200)
    delay_s: float = 0.0
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, object]]:
        """Status and body of the response to one request."""
        schema, given = asked(body["messages"])
        with self._lock:
            self.requests.append((schema, given))
            self.bodies.append(body)
            status = self.status(len(self.requests))
        if status != 200:
            return status, {"error": {"message": "scripted", "type": "scripted", "code": None, "param": None}}
        if self.delay_s:
            self.released.wait(self.delay_s)
        return 200, {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": (self.reply or honest)(schema, given)},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }


@contextmanager
def serve_judge(**script: Any) -> Iterator[ScriptedJudge]:
    """A judge with this script, stopped at the end."""
    judge = ScriptedJudge(**script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, row = judge.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            payload = json.dumps(row).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(payload)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client did not wait

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        judge.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def asked(messages: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Which of ragas's or the project's prompts this is, and the input in it."""
    for message in messages:
        prompt = str(message["content"])
        if "Now perform the same" in prompt:
            schema = next(name for name in HONEST if f'"title": "{name}"' in prompt)
            return schema, json.loads(prompt.split("following input\ninput: ")[1].rsplit("\nOutput:", 1)[0])
        if "\nInput: {" in prompt:
            given, _ = json.JSONDecoder().raw_decode(prompt.split("\nInput: ", 1)[1])
            return ("Preference" if "first" in given else "Correctness"), given
    raise AssertionError(f"no known prompt: {messages!r}")


def sentences(text: object) -> list[str]:
    return [part.strip().rstrip(".") for part in str(text).split(". ") if part.strip()]


def rulings(statements: Sequence[str], context: object, key: str) -> list[dict[str, object]]:
    return [{"statement": s, "reason": "r", key: int(s.lower() in str(context).lower())} for s in statements]


def verdict(value: object) -> dict[str, object]:
    """The reply to one of the project's own prompts."""
    return {"reason": "r", "value": value}


def goodness(text: str) -> int:
    """How good a response of the tests' preference pairs is: it says so itself."""
    return text.count("good")


# An answer is one statement a sentence, a statement holds when it stands in the context, a response is correct when a
# reference stands in it, and the better one of two is the one that says "good" more often.
HONEST: dict[str, Callable[[Mapping[str, Any]], dict[str, object]]] = {
    "StatementGeneratorOutput": lambda given: {"statements": sentences(given["answer"])},
    "ClaimDecompositionOutput": lambda given: {"claims": sentences(given["response"])},
    "NLIStatementOutput": lambda given: {"statements": rulings(given["statements"], given["context"], "verdict")},
    "ContextPrecisionOutput": lambda given: {
        "reason": "r",
        "verdict": int(str(given["answer"]) in str(given["context"])),
    },
    "ContextRecallOutput": lambda given: {
        "classifications": rulings(sentences(given["answer"]), given["context"], "attributed")
    },
    "AnswerRelevanceOutput": lambda given: {
        "question": f"What of {given['response']}?",
        "noncommittal": int("know" in str(given["response"])),
    },
    "Correctness": lambda given: verdict(
        "correct" if any(gold.lower() in given["response"].lower() for gold in given["references"]) else "incorrect"
    ),
    "Preference": lambda given: verdict("first" if goodness(given["first"]) >= goodness(given["second"]) else "second"),
}
_OTHER = {"correct": "incorrect", "incorrect": "correct", "first": "second", "second": "first"}


def honest(schema: str, given: Mapping[str, Any]) -> str:
    """Right by the rules of `HONEST`."""
    return json.dumps(HONEST[schema](given))


def noisy(*, seed: int, share: float = 0.3) -> Reply:
    """Honest, but this share of its verdicts is turned round at random."""
    rng, lock = random.Random(seed), threading.Lock()

    def reply(schema: str, given: Mapping[str, Any]) -> str:
        row = HONEST[schema](given)
        with lock:
            is_wrong = rng.random() < share
        return json.dumps(verdict(_OTHER[str(row["value"])]) if is_wrong else row)

    return reply


def first_lover(schema: str, given: Mapping[str, Any]) -> str:
    """Honest about one answer; of two it takes the first, whatever they say."""
    return json.dumps(verdict("first")) if schema == "Preference" else honest(schema, given)


def length_lover(schema: str, given: Mapping[str, Any]) -> str:
    """Honest about one answer; of two it takes the longer one, whatever they say."""
    if schema != "Preference":
        return honest(schema, given)
    return json.dumps(verdict("first" if len(given["first"]) > len(given["second"]) else "second"))


def generous(schema: str, given: Mapping[str, Any]) -> str:
    """Calls everything correct."""
    return json.dumps(verdict("correct")) if schema == "Correctness" else honest(schema, given)


def prose(schema: str, given: Mapping[str, Any]) -> str:
    """Talks instead of ruling."""
    return "Well, I would say so."
