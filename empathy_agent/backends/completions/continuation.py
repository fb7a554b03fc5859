"""One request from its first attempt to its completion.

Text goes out as it arrives, up to the first stop string. Where the connection fails, the next
attempt goes on behind what was received: nothing that went out is lost or written twice. With a
seed or at temperature 0 the text may differ from that of one attempt only by the draw at the seam.
Attempts are counted over the whole request, wait with doubling and jitter or as long as the server
asks, and never beyond the deadline.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from empathy_agent.backends.completions.calls import Calls
from empathy_agent.backends.completions.chunks import Chunk, Counts, read_chunks
from empathy_agent.backends.completions.dialects import Prompt
from empathy_agent.backends.completions.options import Options
from empathy_agent.backends.completions.probe import Server
from empathy_agent.backends.completions.prompt import Prepared
from empathy_agent.backends.completions.refusals import Fault, broken, cut, overflow, refusal
from empathy_agent.backends.requests import Completion, Delta
from empathy_agent.backends.worker import Job
from empathy_agent.chain import Usage
from empathy_agent.errors import BackendError
from empathy_agent.splitter import StopScanner

if TYPE_CHECKING:
    import httpx

_LONGEST_WAIT_S = 30.0
"""A server that asks for more is not waited for."""
_LONGEST_BACK_OFF_S = 8.0


@dataclass
class Habits:
    """What was learnt of a server by asking it."""

    only_standard: bool = False
    """It refused a request for its fields and took the same one without them."""


class Continuation:
    """Continues one prompt; used once."""

    def __init__(
        self,
        job: Job,
        server: Server,
        prompt: Prepared,
        calls: Calls,
        options: Options,
        fingerprint: str,
        habits: Habits,
    ) -> None:
        self._habits = habits
        self._job, self._request = job, job.request
        self._server, self._prompt = server, prompt
        self._calls, self._options, self._fingerprint = calls, options, fingerprint
        self._scanner = StopScanner(job.request.stop)
        self._released: list[str] = []
        self._received = ""
        self._ids: tuple[int, ...] = ()
        self._tokens = 0
        self._finish: Literal["stop", "length", "eos"] | None = None
        self._counts = Counts()
        self._tokens_before = 0
        self._only_standard = habits.only_standard
        self._stop_ids: tuple[int, ...] = ()

    async def run(self) -> Completion:
        """Return the completion; deltas go to the job's sink.

        Raises:
            BackendError: The server refuses, or fails more often than it is asked again.
        """
        if self._prompt.is_exact and self._prompt.count >= self._server.context_size:
            raise overflow()
        self._stop_ids = await self._control_stops()
        failures = 0
        while (fault := await self._try()) is not None:
            if fault.names_field and not self._only_standard and self._server.dialect.is_unknown:
                self._only_standard = True
                continue
            wait_s = self._wait_s(failures, fault)
            if wait_s is None:
                raise fault.error
            failures += 1
            await asyncio.sleep(wait_s)
        self._habits.only_standard |= self._only_standard
        return await self._completion()

    async def _try(self) -> Fault | None:
        """Make one attempt; None where the completion has ended."""
        import httpx

        try:
            await self._attempt()
        except Fault as fault:
            return None if self._finish and fault.is_retryable else fault
        except httpx.HTTPError as error:
            return (
                None
                if self._finish
                else broken(error, self._options.host, self._options.read_timeout_s)
            )
        return None if self._finish else cut(self._options.host)

    def _wait_s(self, failures: int, fault: Fault) -> float | None:
        """Return how long to wait before the next attempt, None for not at all."""
        if not fault.is_retryable or failures >= self._options.retries:
            return None
        doubled = min(_LONGEST_BACK_OFF_S, self._options.back_off_s * 2.0**failures)
        wait_s = doubled * random.uniform(0.5, 1.0)
        if fault.wait_s is not None:
            wait_s = max(wait_s, fault.wait_s)
        deadline = self._request.deadline
        is_too_long = wait_s > _LONGEST_WAIT_S
        if deadline is not None and time.monotonic() + wait_s >= deadline:
            is_too_long = True
        return None if is_too_long else wait_s

    async def _attempt(self) -> None:
        request, server, options = self._request, self._server, self._options
        left = request.max_new_tokens - self._tokens
        if self._prompt.is_exact:
            left = min(left, server.context_size - self._prompt.count - self._tokens)
        if left < 1:
            self._finish = "length"
            return
        self._tokens_before = self._tokens
        body = server.dialect.body(
            server.model,
            await self._so_far(),
            request,
            max_tokens=left,
            min_tokens=max(0, request.min_new_tokens - self._tokens),
            stop_ids=self._stop_ids,
            wants_ids=server.takes_ids and server.tokens.traits.digest != "",
            only_standard=self._only_standard,
        )
        headers = {}
        if options.affinity_header and request.session:
            headers[options.affinity_header] = request.session
        url = server.dialect.url(options.url, options.root)
        async with self._calls.client.stream("POST", url, json=body, headers=headers) as response:
            await self._read(response)

    async def _read(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise await refusal(response, self._options.host, self._server.model)
        async with aclosing(read_chunks(response, self._options.host)) as chunks:
            async for chunk in chunks:
                self._take(chunk)
                if self._scanner.stop is not None:
                    return  # leaving closes the connection, which ends the server's work

    def _take(self, chunk: Chunk) -> None:
        self._received += chunk.text
        self._ids += chunk.ids
        self._tokens += len(chunk.ids) or bool(chunk.text)
        text, has_stopped = self._scanner.feed(chunk.text)
        if text:
            self._released.append(text)
            if not self._job.send(Delta(text)):
                raise Fault(BackendError("the sink of the request failed"))
        if has_stopped:
            self._finish = "stop"
        elif chunk.finish is not None:
            self._finish = "length" if chunk.finish == "length" else self._ending(chunk)
        if chunk.counts is not None:
            self._counts = chunk.counts

    def _ending(self, chunk: Chunk) -> Literal["stop", "eos"]:
        """Tell a stop string from the model's own end, as far as the server does."""
        if not chunk.tells_stop:
            return "stop" if self._request.stop else "eos"
        by = chunk.stopped_by
        return "stop" if isinstance(by, str) or by in self._stop_ids else "eos"

    async def _so_far(self) -> Prompt:
        """Return the prompt, and behind it what an earlier attempt brought."""
        value = self._prompt.value
        if not self._received:
            return value
        if isinstance(value, str):
            return value + self._received
        return value + await self._spelled(self._received)

    async def _spelled(self, text: str) -> tuple[int, ...]:
        """Return the ids of generated `text`, the server's own where they are known to spell it."""
        tokens = self._server.tokens
        ids, rest = tokens.agreeing(self._ids, text)
        return (*ids, *(await tokens.ids(rest, is_control=False) if rest else ()))

    async def _control_stops(self) -> tuple[int, ...]:
        """Return the ids of the stop strings that are one control token."""
        server = self._server
        if not (server.dialect.has_min_tokens and server.tokens.traits.has_control_tags):
            return ()
        found: list[int] = []
        for stop in self._request.stop:
            ids = await server.tokens.ids(stop, is_control=True)
            if len(ids) == 1 and ids != await server.tokens.ids(stop, is_control=False):
                found += ids
        return tuple(found)

    async def _completion(self) -> Completion:
        assert self._finish is not None  # `run` ends only then
        held = "" if self._finish == "length" else self._scanner.flush()
        text = "".join((*self._released, held))
        ids = await self._spelled(text) if self._server.takes_ids else ()
        if held or ids:
            self._job.send(Delta(held, ids))
        return Completion(text, ids, self._finish, await self._usage(text, ids), self._fingerprint)

    async def _usage(self, text: str, ids: tuple[int, ...]) -> Usage:
        counts, tokens = self._counts, self._server.tokens
        written = len(ids) or (await tokens.count(text) if tokens.is_exact else self._tokens)
        written = min(written, self._request.max_new_tokens)  # tokenised again, it may be more
        if counts.completion is not None:
            written = self._tokens_before + counts.completion
        prompt = self._prompt.count
        if counts.prompt is not None and not self._tokens_before:
            prompt = counts.prompt
        cached = min(counts.cached or 0, prompt)
        return Usage(
            prompt_tokens=prompt,
            evaluated_tokens=prompt - cached + max(0, written - 1),
            reused_tokens=cached,
            completion_tokens=written,
        )
