"""Somebody else's OpenAI-compatible server as the engine: a vLLM fleet, Ray Serve LLM, a hosted API.

engine = RemoteEngine(settings, base, api_key="none").open(adapters)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import httpx

from serving.engine.engine import BaseModel, OpenEngine, refuse_unfit
from serving.engine.settings import EngineSettings
from serving.errors import EngineFailed
from tuning.export.adapters import Adapter


class RemoteEngine:
    """An engine at `engine.url`: its model list is the truth, and an adapter that it lacks is offered to it once."""

    def __init__(self, settings: EngineSettings, base: BaseModel, *, api_key: str) -> None:
        """`settings.url` is where it answers; `api_key` is sent with every request."""
        assert settings.url is not None
        self._settings, self._base = settings, base
        self._url, self._key = settings.url.rstrip("/"), api_key
        self._client = httpx.Client(timeout=60.0, headers={"Authorization": f"Bearer {self._key}"})
        self._offered: set[str] = set()

    def open(self, adapters: Mapping[str, Adapter]) -> OpenEngine:
        """The engine with these adapters. Raises EngineFailed when it does not answer or does not serve them."""
        names = self._served()
        self._offer(adapters.values(), names)
        base = self._settings.model or (self._base.name if self._base.name in names else names[0])
        if base not in names:
            raise EngineFailed(f"the engine at {self._url} has no model {base!r}; it serves {', '.join(names)}")
        return OpenEngine(
            url=self._url,
            base_model=base,
            api_key=self._key,
            is_ready=self._is_ready,
            load=self._load,
            unload=self._unload,
        )

    def close(self) -> None:
        """Closes the connection to it."""
        self._client.close()

    def _is_ready(self) -> bool:
        try:
            return bool(self._served())
        except EngineFailed:
            return False

    def _load(self, adapter: Adapter) -> None:
        refuse_unfit(self._base, {adapter.name: adapter}, max_rank=self._settings.max_lora_rank)
        self._offer([adapter], self._served())

    def _unload(self, adapter: Adapter) -> None:
        # What was there before belongs to somebody else.
        if adapter.name in self._offered:
            self._send("/unload_lora_adapter", {"lora_name": adapter.name})
            self._offered.discard(adapter.name)

    def _offer(self, adapters: Iterable[Adapter], names: list[str]) -> None:
        new = [adapter for adapter in adapters if adapter.name not in names]
        if not new:
            return
        for adapter in new:
            self._send("/load_lora_adapter", {"lora_name": adapter.name, "lora_path": str(adapter.path)})
        served = self._served()
        missing = sorted(adapter.name for adapter in new if adapter.name not in served)
        if missing:
            raise EngineFailed(
                f"the engine at {self._url} does not serve {', '.join(missing)}; "
                "load them there, or leave out the arms that need them"
            )
        self._offered.update(adapter.name for adapter in new)

    def _served(self) -> list[str]:
        try:
            reply = self._client.get(f"{self._url}/models")
            reply.raise_for_status()
            return [str(model["id"]) for model in reply.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise self._silent(error) from error

    def _send(self, route: str, body: dict[str, str]) -> None:
        try:
            self._client.post(f"{self._url}{route}", json=body)
        except httpx.HTTPError as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> EngineFailed:
        return EngineFailed(f"engine.url {self._url!r} does not answer as an OpenAI-compatible server: {error}")
