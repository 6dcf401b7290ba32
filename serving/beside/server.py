"""An engine that answers with one adapter: `python -m serving.beside.server --base FOLDER --adapter FOLDER --name NAME
--port PORT --dtype float32 --max-model-len 2048 --max-rows 16`, on loopback. serving/engine/beside.py starts it.

GET /health   GET /v1/models   POST /v1/chat/completions
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import TemplateError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from serving.beside.generation import Ask, Finish, Generator, Token
from serving.beside.request import EngineBody, Text
from serving.errors import ClientGone, Invalid, NotFound
from serving.http.body import ApiRoute, to_invalid
from serving.http.errors import error_response
from storage.errors import ArbiterError

# What a model's generation settings may say of how tokens are drawn; vLLM begins with the same ones.
_USUAL = ("temperature", "top_p", "top_k", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is ready: `usual` is how tokens are drawn where a request does not say."""

    name: str
    tokenizer: Any
    generator: Generator
    max_model_len: int
    usual: Mapping[str, Any] = field(default_factory=dict)

    def ask_of(self, body: EngineBody) -> Ask:
        """The request in tokens. Raises NotFound and Invalid."""
        if body.model != self.name:
            raise NotFound(f"no model {body.model!r}; this engine serves {self.name}", code="model_not_found")
        try:
            prompt = self.tokenizer.apply_chat_template(
                [message.model_dump() for message in body.messages], add_generation_prompt=True, return_dict=True
            )["input_ids"]
        except TemplateError as error:
            raise Invalid(f"messages: the chat template refuses them: {error}", param="messages") from error
        room = self.max_model_len - len(prompt)
        if room < (body.max_tokens or 1):
            raise Invalid(
                f"messages: {len(prompt)} tokens and {body.max_tokens or 1} of an answer are over the context of "
                f"{self.max_model_len}; send less text, or ask for fewer tokens",
                param="messages",
                code="context_length_exceeded",
            )
        return Ask(
            prompt=tuple(prompt),
            max_tokens=body.max_tokens or room,
            num_best=(body.top_logprobs or 0) if body.logprobs else 0,
            **{**self.usual, **body.drawing},
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """What one more token adds: text, which may be none, and why it is the last one, where it is."""

    text: str
    token: Token
    finish: Finish | None


async def pieces(served: Served, ask: Ask, stops: Sequence[str]) -> AsyncIterator[Piece]:
    """The answer as it grows; the computing ends when nobody listens any more."""
    loop, tokens = asyncio.get_running_loop(), asyncio.Queue[Token | Exception]()

    def take(token: Token | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and whoever listened
            loop.call_soon_threadsafe(tokens.put_nowait, token)

    asked = served.generator.submit(ask, take)
    text = Text(served.tokenizer, stops)
    finish: Finish | None = None
    try:
        while finish is None:
            token = await tokens.get()
            if isinstance(token, Exception):
                raise token
            said = text.add(token.id)
            finish = "stop" if text.is_stopped else token.finish
            yield Piece(said if finish is None else said + text.end(), token, finish)
    finally:
        asked.cancel()


def create_engine(served: Served) -> FastAPI:
    """The application."""
    app = FastAPI(openapi_url=None)
    app.router.route_class = ApiRoute

    @app.get("/health")
    async def health() -> JSONResponse:
        is_ok = not served.generator.is_broken
        return JSONResponse({"status": "ok" if is_ok else "broken"}, status_code=200 if is_ok else 503)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        card = {"id": served.name, "object": "model", "created": 0, "owned_by": "arbiter"}
        return {"object": "list", "data": [{**card, "max_model_len": served.max_model_len}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request, body: EngineBody) -> Response:
        ask = served.ask_of(body)
        grows = pieces(served, ask, body.stop)
        reply = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": served.name}
        if body.stream:
            return StreamingResponse(_events(served, grows, body, ask, reply), media_type="text/event-stream")
        said = []
        async for piece in grows:
            said.append(piece)
            if await request.is_disconnected():
                raise ClientGone("the client left before it was answered")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(piece.text for piece in said)},
            "logprobs": _logprobs(served, said) if body.logprobs else None,
            "finish_reason": said[-1].finish,
        }
        return JSONResponse(
            {**reply, "object": "chat.completion", "choices": [choice], "usage": _usage(ask, len(said))}
        )

    async def refuse(_request: Request, error: Exception) -> Response:
        return error_response(to_invalid(error) if isinstance(error, RequestValidationError) else error)

    for expected in (Exception, HTTPException, RequestValidationError, ArbiterError):
        app.add_exception_handler(expected, refuse)
    return app


async def _events(
    served: Served, grows: AsyncIterator[Piece], body: EngineBody, ask: Ask, reply: Mapping[str, Any]
) -> AsyncIterator[str]:
    """The chunks as server-sent events."""

    def event(**rest: Any) -> str:
        return f"data: {json.dumps({**reply, 'object': 'chat.completion.chunk', **rest}, ensure_ascii=False)}\n\n"

    def choice(delta: Mapping[str, str], piece: Piece | None = None) -> dict[str, Any]:
        logprobs = _logprobs(served, [piece]) if piece is not None and body.logprobs else None
        finish = piece.finish if piece is not None else None
        return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    num_tokens = 0
    yield event(choices=[choice({"role": "assistant", "content": ""})])
    async for piece in grows:
        num_tokens += 1
        if piece.text or piece.finish or body.logprobs:
            yield event(choices=[choice({"content": piece.text}, piece)])
    if body.stream_options is not None and body.stream_options.include_usage:
        yield event(choices=[], usage=_usage(ask, num_tokens))
    yield "data: [DONE]\n\n"


def _usage(ask: Ask, num_tokens: int) -> dict[str, Any]:
    prompt = len(ask.prompt)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": num_tokens,
        "total_tokens": prompt + num_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _logprobs(served: Served, said: list[Piece]) -> dict[str, Any]:
    def told(token_id: int, logprob: float) -> dict[str, Any]:
        text = served.tokenizer.decode([token_id])
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    content = [
        {**told(one.token.id, one.token.logprob), "top_logprobs": [told(*other) for other in one.token.best]}
        for one in said
    ]
    return {"content": content}


def load_served(
    base: Path, adapter: Path, name: str, *, dtype: str = "float32", max_model_len: int = 2048, max_rows: int = 16
) -> Served:
    """The base model of a folder with the adapter of another. Raises TuningError where they do not fit."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuning.export.opening import first_cache, open_beside, without_first_cache

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    plain = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=dtype)
    model = open_beside(plain, adapter).to("cuda" if torch.cuda.is_available() else "cpu", plain.dtype).eval()
    said = plain.generation_config.to_diff_dict()
    ends = said.get("eos_token_id")
    eos_ids = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
    with torch.inference_mode():
        before = first_cache(model).get_seq_length()
    places = getattr(plain.config.get_text_config(), "max_position_embeddings", None)
    return Served(
        name=name,
        tokenizer=tokenizer,
        generator=Generator(without_first_cache(model), lambda: first_cache(model), eos_ids, max_rows),
        max_model_len=max_model_len if places is None else min(max_model_len, places - before),
        usual={name: said[name] for name in _USUAL if said.get(name) is not None},
    )


def main() -> None:
    """Serves until it is told to end."""
    import uvicorn

    parser = argparse.ArgumentParser()
    for name, kind in (("base", Path), ("adapter", Path), ("name", str), ("dtype", str)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("port", "max-model-len", "max-rows"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = vars(parser.parse_args())
    port = given.pop("port")
    app = create_engine(load_served(**given))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
