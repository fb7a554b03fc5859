"""The systems that the concurrency bench compares: our backend, the same one at a time, and llama-server."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from bench.chats import Piece
from bench.llama_server import Server
from bench.process import resident_bytes
from empathy_agent.backends.base import Completion, Request
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.config import Sampling
from empathy_agent.segments import Segment

SAMPLING = Sampling(temperature=0.7, top_k=40, top_p=0.9, repeat_penalty=1.0)


class Ours:
    """Our backend, its requests sharing batches."""

    label = "ours"

    def __init__(self, backend: LlamaCppBackend, system_ids: tuple[int, ...]) -> None:
        self._backend, self._system_ids = backend, system_ids

    def begin(self) -> None:
        """Empty the cache, then fill in the system prompt."""
        self._backend.forget()
        for _ in self.generate(list(self._system_ids), 1, session="begin", keep=False, seed=0):
            pass

    def generate(
        self, ids: list[int], count: int, *, session: str, keep: bool, seed: int
    ) -> Iterator[Piece]:
        """Stream from the backend."""
        prompt = Segment("", ids=tuple(ids), fingerprint=self._backend.fingerprint)
        sampling = SAMPLING.model_copy(update={"seed": seed})
        request = Request(
            (prompt,), (), count, sampling, min_new_tokens=count, session=session, keep=keep
        )
        for event in self._backend.stream(request):
            if isinstance(event, Completion):
                # The last token that is sampled is never computed.
                yield Piece(computed=event.usage.evaluated_tokens - count + 1)
            else:
                yield Piece(event.ids)

    def chat(self, session: str) -> AbstractContextManager[object]:
        """Hold nothing."""
        return nullcontext()

    def resident(self) -> int | None:
        """Return the memory of this process."""
        return resident_bytes()


class OneChatAtATime(Ours):
    """Our backend behind a lock that a chat holds from its first request to its last."""

    label = "one chat at a time"

    def __init__(self, backend: LlamaCppBackend, system_ids: tuple[int, ...]) -> None:
        super().__init__(backend, system_ids)
        self._lock = threading.Lock()

    def chat(self, session: str) -> AbstractContextManager[object]:
        """Hold the lock."""
        return self._lock


class OneRequestAtATime(Ours):
    """Our backend behind a lock that each request takes."""

    label = "one request at a time"

    def __init__(self, backend: LlamaCppBackend, system_ids: tuple[int, ...]) -> None:
        super().__init__(backend, system_ids)
        self._lock = threading.Lock()

    def generate(
        self, ids: list[int], count: int, *, session: str, keep: bool, seed: int
    ) -> Iterator[Piece]:
        """Stream from the backend while holding the lock."""
        with self._lock:
            yield from super().generate(ids, count, session=session, keep=keep, seed=seed)


class LlamaServer:
    """llama-server over HTTP, with its own defaults for all that is not said."""

    label = "llama-server"

    def __init__(self, server: Server, system_ids: tuple[int, ...]) -> None:
        self._server, self._system_ids = server, system_ids

    def begin(self) -> None:
        """Compute the system prompt once; what is cached besides matches no new post."""
        for _ in self.generate(list(self._system_ids), 1, session="begin", keep=False, seed=0):
            pass

    def generate(
        self, ids: list[int], count: int, *, session: str, keep: bool, seed: int
    ) -> Iterator[Piece]:
        """Stream `/completion`."""
        body = {
            "prompt": ids,
            "n_predict": count,
            "temperature": SAMPLING.temperature,
            "top_k": SAMPLING.top_k,
            "top_p": SAMPLING.top_p,
            "min_p": 0.0,
            "repeat_penalty": SAMPLING.repeat_penalty,
            "seed": seed,
            "ignore_eos": True,
            "cache_prompt": True,
            "stream": True,
            "return_tokens": True,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=600)
        try:
            connection.request(
                "POST", "/completion", json.dumps(body), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"llama-server answered {response.status}")
            for line in response:
                if line.startswith(b"data: "):
                    yield _piece(json.loads(line[6:]))
        finally:
            connection.close()

    def chat(self, session: str) -> AbstractContextManager[object]:
        """Hold nothing."""
        return nullcontext()

    def resident(self) -> int | None:
        """Return the memory of the server's process."""
        return resident_bytes(self._server.pid)


def _piece(data: dict[str, object]) -> Piece:
    if "error" in data:
        raise RuntimeError("llama-server ended a stream with an error")
    if not data.get("stop"):
        tokens = data["tokens"]
        assert isinstance(tokens, list)
        return Piece(tokens)
    timings = data.get("timings")
    computed = timings.get("prompt_n") if isinstance(timings, dict) else None
    return Piece(computed=computed if isinstance(computed, int) else 0)
