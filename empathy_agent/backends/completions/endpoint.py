"""One server as the backend's loop sees it: probed once, asked for counts, ids and completions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar

from empathy_agent.backends.completions.calls import Calls
from empathy_agent.backends.completions.continuation import Continuation, Habits
from empathy_agent.backends.completions.options import Options
from empathy_agent.backends.completions.probe import Server, probe
from empathy_agent.backends.completions.prompt import clean, prompt_of, segment_ids
from empathy_agent.backends.completions.refusals import Fault
from empathy_agent.backends.requests import Completion
from empathy_agent.backends.worker import Job
from empathy_agent.errors import BackendError
from empathy_agent.segments import Segment

_Result = TypeVar("_Result")


class Endpoint:
    """The server at `options.base_url`; all methods run in one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._calls = Calls(options)
        self._server: Server | None = None
        self._habits = Habits()
        self._is_probing = asyncio.Lock()
        self._turn = asyncio.Lock()

    @property
    def known(self) -> Server | None:
        """What the probe found, where it was made."""
        return self._server

    async def server(self) -> Server:
        """Return what the server is; a probe that failed is made again the next time.

        Raises:
            BackendUnavailable: It cannot be reached, or is not usable.
        """
        async with self._is_probing:
            if self._server is None:
                self._server = await _settled(lambda: probe(self._calls, self._options))
        return self._server

    def fingerprint(self, server: Server) -> str:
        """Return the hash that ids belong to."""
        parts = (
            self._options.url,
            server.model,
            server.dialect.flavour,
            server.tokens.traits.digest,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    async def count(self, segments: Sequence[Segment]) -> int:
        """Return the number of tokens of `segments`."""
        server = await self.server()
        mark = self.fingerprint(server)
        async with self._in_turn(server):
            return (await _settled(lambda: prompt_of(server, segments, mark))).count

    async def pin(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Return `segments` with their ids, where the server takes ids."""
        server = await self.server()
        mark = self.fingerprint(server)
        if not server.takes_ids:
            return tuple(segments)
        return tuple(
            [
                Segment(
                    one.text,
                    one.control,
                    await _settled(lambda one=one: segment_ids(server, one, mark)),  # type: ignore[misc]
                    mark,
                )
                for one in segments
            ]
        )

    async def complete(self, job: Job) -> Completion:
        """Continue the job's segments, sending deltas on the way."""
        if not any(clean(one.text) for one in job.request.segments):
            raise BackendError("the request is empty; give at least one segment with text")
        server = await self.server()
        mark = self.fingerprint(server)
        async with self._in_turn(server):
            prompt = await _settled(lambda: prompt_of(server, job.request.segments, mark))
            return await Continuation(
                job, server, prompt, self._calls, self._options, mark, self._habits
            ).run()

    def _in_turn(self, server: Server) -> AbstractAsyncContextManager[object]:
        return self._turn if server.dialect.is_exclusive else nullcontext()

    async def forget(self) -> None:
        """Drop what is remembered of texts."""
        if self._server is not None:
            self._server.tokens.forget()

    async def close(self) -> None:
        """Close all connections."""
        await self._calls.close()


async def _settled(ask: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return the result of `ask`, or raise the error that its fault comes to."""
    try:
        return await ask()
    except Fault as fault:
        error = fault.error
    raise error
