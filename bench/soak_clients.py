"""What the clients of a soak do: agent calls of every face, and requests put straight to the backend.

`run` and `arun` do one `Scenario` each and count its outcome as a word. What must not happen goes to `Record.problem`,
with no more than one line a kind.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace

from bench.soak_checks import Probes, completion_problem
from bench.soak_posts import Tags, strange_quotes
from bench.soak_scenarios import Scenario, draw_scenario
from empathy_agent.backends.requests import Completion, Delta, Event, Message, Request
from empathy_agent.backends.token_backend import TokenBackend
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Sampling
from empathy_agent.errors import (
    BackendBusy,
    EmpathyAgentError,
)
from empathy_graph.agent import EmpathyAgent
from empathy_graph.events import EmpathyStreamItem

BURST = 48
_EXPECTED = {
    "BackendTimeout": {"deadline", "direct cancel"},
    "BackendCancelled": {"direct cancel"},
    "ContextOverflow": {"overflow", "direct overflow"},
}
"""Errors, and where they belong; `BackendBusy` may happen to anybody while a burst waits."""


class Record:
    """What happened, over all clients."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.seconds: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._lock = threading.Lock()

    def outcome(self, kind: str, outcome: str, seconds: float) -> None:
        """Count one thing done."""
        with self._lock:
            self.outcomes[f"{kind}: {outcome}"] += 1
            if outcome in ("stop", "length", "done"):
                self.seconds[kind].append(seconds)

    def problem(self, what: str) -> None:
        """Count something that must not happen."""
        with self._lock:
            self.problems[what] += 1


class Clients:
    """The clients of one agent.

    Args:
        agent: The agent that all share.
        backend: Its backend.
        probes: The fixed requests.
        record: Where everything is counted.
    """

    def __init__(
        self, agent: EmpathyAgent, backend: TokenBackend, probes: Probes, record: Record
    ) -> None:
        self._agent, self._backend = agent, backend
        self._probes, self._record = probes, record
        self._tags = Tags()

    def run(self, draw: random.Random, kind: str | None = None) -> None:
        """Do one thing from sync code, of that kind if one is given."""
        one, started = draw_scenario(self._tags, draw, kind), time.perf_counter()
        try:
            outcome = self._direct(one, draw) if one.is_direct else self._ask(one, draw)
        except Exception as error:
            outcome = self._failure(one, error)
        self._record.outcome(one.kind, outcome, time.perf_counter() - started)

    async def arun(self, draw: random.Random) -> None:
        """Do one thing from async code."""
        one, started = draw_scenario(self._tags, draw), time.perf_counter()
        try:
            outcome = await (self._adirect(one) if one.is_direct else self._aask(one, draw))
        except Exception as error:
            outcome = self._failure(one, error)
        self._record.outcome(f"async {one.kind}", outcome, time.perf_counter() - started)

    def _ask(self, one: Scenario, draw: random.Random) -> str:
        if one.kind != "leave" and draw.random() < 0.5:
            return self._check(one, self._agent.invoke(one.messages, one.config))
        stream = self._agent.stream(one.messages, one.config)
        assert isinstance(stream, Generator)
        last: EmpathyStreamItem | None = None
        for count, item in enumerate(stream):
            last = item
            if one.kind == "leave" and count >= one.items:
                stream.close()
                return "left"
        return self._check(one, last)

    async def _aask(self, one: Scenario, draw: random.Random) -> str:
        if one.kind == "leave" and draw.random() < 0.5:
            task = asyncio.ensure_future(self._agent.ainvoke(one.messages, one.config))
            await asyncio.sleep(one.seconds)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, asyncio.CancelledError):
                return "cancelled"
            if isinstance(result, Exception):
                raise result
            return self._check(one, result)
        if one.kind != "leave" and draw.random() < 0.5:
            return self._check(one, await self._agent.ainvoke(one.messages, one.config))
        stream = self._agent.astream(one.messages, one.config)
        assert isinstance(stream, AsyncGenerator)
        last: EmpathyStreamItem | None = None
        count = 0
        async for item in stream:
            last, count = item, count + 1
            if one.kind == "leave" and count > one.items:
                await stream.aclose()
                return "left"
        return self._check(one, last)

    def _check(self, one: Scenario, reply: object) -> str:
        """Look for words of others in the reply; return how it ended."""
        if not isinstance(reply, EmpathyReply):
            self._record.problem(f"{one.kind}: the last item is {type(reply).__name__}")
            return "no reply"
        layers = [
            reply.chain.emotion,
            reply.chain.cause,
            reply.chain.intention,
            reply.chain.strategy,
        ]
        texts = [reply.answer, *(layer.text for layer in layers if layer)]
        for text in texts:
            if foreign := self._tags.foreign(text, one.tags):
                self._record.problem(
                    f"a reply to {set(one.tags)} holds the tag of another: {foreign}"
                )
        if one.is_graph and one.kind != "hostile":
            for layer in layers[:2]:
                if layer and strange_quotes(layer.text, one.post):
                    self._record.problem("a layer quotes what its post does not say")
        fault = next((text for text in reply.warnings if "failed with" in text), None)
        if fault and not any(word in fault for word in ("BackendBusy", "BackendTimeout")):
            self._record.problem(f"{one.kind}: {fault}")
        return f"{reply.finish}, {fault.split(';')[0]}" if fault else reply.finish

    def _failure(self, one: Scenario, error: Exception) -> str:
        name = type(error).__name__
        if not isinstance(error, BackendBusy) and one.kind not in _EXPECTED.get(name, ()):
            detail = f" ({error})" if isinstance(error, EmpathyAgentError) else ""
            self._record.problem(f"{one.kind}: {name}{detail}")
        if one.post in str(error):
            self._record.problem(f"{name} quotes the post")
        return name

    def _request(self, one: Scenario) -> Request:
        prompt = self._backend.render([Message("user", one.post)])
        return Request(prompt, ("。」",), 48, Sampling(seed=1))

    def _direct(self, one: Scenario, draw: random.Random) -> str:
        request, backend = self._request(one), self._backend
        match one.kind:
            case "probe":
                number = draw.randrange(len(Probes.PROMPTS))
                self._probes.record(number, backend.complete(self._probes.request(number)))
            case "direct cancel":
                backend.complete(_limited(request, one, draw))
            case "direct leave":
                stream = backend.stream(request)
                for _ in zip(range(one.items), stream, strict=False):
                    pass
                stream.close()
            case "direct overflow":
                backend.complete(replace(request, segments=request.segments * 2000))
            case "abandoned session":  # says that it goes on, and never does
                backend.complete(replace(request, session=one.post, keep=True, max_new_tokens=4))
            case "raising sink":
                backend.submit(request, _raise)
            case "burst":
                return self._burst(request)
            case _:
                self._report(completion_problem(backend, request, list(backend.stream(request))))
        return "done"

    async def _adirect(self, one: Scenario) -> str:
        if one.kind not in ("direct", "direct leave"):
            draw = random.Random(one.post)
            return await asyncio.to_thread(self._direct, one, draw)
        request, events = self._request(one), list[Event]()
        stream = self._backend.astream(request)
        async for item in stream:
            events.append(item)
            if one.kind == "direct leave" and len(events) > one.items:
                await stream.aclose()
                return "done"
        self._report(completion_problem(self._backend, request, events))
        return "done"

    def _burst(self, request: Request) -> str:
        """Put many short requests at once; those beyond the queue's bound are refused."""
        done, accepted = threading.Semaphore(0), 0

        def sink(item: Event | BaseException) -> None:
            if isinstance(item, (Completion, BaseException)):
                done.release()

        for _ in range(BURST):
            try:
                self._backend.submit(replace(request, max_new_tokens=2), sink)
                accepted += 1
            except BackendBusy:
                continue
        for _ in range(accepted):
            if not done.acquire(timeout=120):
                self._report("a request of a burst hangs")
                return "hangs"
        return "all accepted" if accepted == BURST else "some refused"

    def _report(self, problem: str | None) -> None:
        if problem is not None:
            self._record.problem(problem)


def _limited(request: Request, one: Scenario, draw: random.Random) -> Request:
    """Return the request with a deadline, or with an event that a timer sets."""
    if draw.random() < 0.5:
        return replace(request, deadline=time.monotonic() + one.seconds)
    event = threading.Event()
    timer = threading.Timer(one.seconds, event.set)
    timer.daemon = True
    timer.start()
    return replace(request, cancel=event)


def _raise(item: Event | BaseException) -> None:
    # The one of the two that is no `Exception` would end a thread that only expects those.
    raise ValueError if isinstance(item, Delta) and len(item.ids) % 2 else asyncio.CancelledError
