"""The systems that the concurrency bench compares: our backend, the same one at a time, and llama-server."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from bench.chats import End
from bench.llama_server import Server
from bench.process import resident_bytes
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.requests import Completion, Request
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
    ) -> Iterator[Sequence[int] | End]:
        """Stream from the backend."""
        prompt = Segment("", ids=tuple(ids), fingerprint=self._backend.fingerprint)
        sampling = SAMPLING.model_copy(update={"seed": seed})
        request = Request(
            (prompt,), (), count, sampling, min_new_tokens=count, session=session, keep=keep
        )
        for event in self._backend.stream(request):
            if isinstance(event, Completion):
                # The last token that is sampled is never computed.
                yield End(event.usage.completion_tokens, event.usage.evaluated_tokens - count + 1)
            else:
                yield event.ids

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
    ) -> Iterator[Sequence[int] | End]:
        """Stream from the backend while holding the lock."""
        with self._lock:
            yield from super().generate(ids, count, session=session, keep=keep, seed=seed)


class LlamaServer:
    """llama-server over HTTP, with its own defaults for all that is not said.

    Its streams leave out the ids of tokens that end inside a character: these are got back from the character, so that
    the next request of a chat finds its cache.

    Args:
        server: The running server.
        system_ids: The system prompt.
        tokenize: Turns a text into the model's ids.
    """

    label = "llama-server"

    def __init__(
        self, server: Server, system_ids: tuple[int, ...], tokenize: Callable[[str], Sequence[int]]
    ) -> None:
        self._server, self._system_ids, self._tokenize = server, system_ids, tokenize

    def begin(self) -> None:
        """Compute the system prompt once; what is cached besides matches no new post."""
        for _ in self.generate(list(self._system_ids), 1, session="begin", keep=False, seed=0):
            pass

    def generate(
        self, ids: list[int], count: int, *, session: str, keep: bool, seed: int
    ) -> Iterator[Sequence[int] | End]:
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
            written = 0
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                data = json.loads(line[6:])
                if data["stop"]:
                    yield End(data["timings"]["predicted_n"], data["timings"]["prompt_n"])
                elif data["tokens"]:
                    is_whole = data["tokens_predicted"] == written + 1
                    written = data["tokens_predicted"]
                    yield data["tokens"] if is_whole else self._tokenize(data["content"])
        finally:
            connection.close()

    def chat(self, session: str) -> AbstractContextManager[object]:
        """Hold nothing."""
        return nullcontext()

    def resident(self) -> int | None:
        """Return the memory of the server's process."""
        return resident_bytes(self._server.pid)
