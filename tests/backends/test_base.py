"""The contract's own code: links, sinks, closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from empathy_agent.backends.base import Backend, LinkedEvent
from empathy_agent.backends.requests import Capabilities, Completion, Delta, Message, Request, Sink
from empathy_agent.chain import Usage
from empathy_agent.errors import BackendError, BackendTimeout
from empathy_agent.segments import Segment


class _Scripted(Backend):
    """A backend in a dozen lines, as a plugin author would begin."""

    name = "scripted"
    fingerprint = "none"
    context_size = 256
    special_strings = ()
    capabilities = Capabilities(False, False, False, False, "plain", False, 1)

    def __init__(self, *items: Delta | Completion | BaseException) -> None:
        self.items = items
        self.requests: list[Request] = []

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        return tuple(Segment(one.content) for one in messages)

    def count_tokens(self, segments: Sequence[Segment]) -> int:
        return sum(len(one.text) for one in segments)

    def submit(self, request: Request, sink: Sink) -> None:
        self.requests.append(request)
        for item in self.items:
            sink(item)


_DONE = Completion("好", (7,), "stop", Usage(), "none")
_REQUEST = Request((Segment("x"),))


def test_a_completion_is_a_segment_to_go_on_from() -> None:
    assert _DONE.segment == Segment("好", ids=(7,), fingerprint="none")


def test_a_linked_event_follows_its_parent_but_does_not_set_it() -> None:
    parent = threading.Event()
    child = LinkedEvent(parent)
    assert not child.is_set()
    child.set()
    assert child.is_set()
    assert not parent.is_set()
    parent.set()
    assert LinkedEvent(parent).is_set()
    assert not LinkedEvent(None).is_set()


def test_a_plain_backend_gets_every_face_from_submit() -> None:
    backend = _Scripted(Delta("好", (7,)), _DONE)
    assert list(backend.stream(_REQUEST)) == [Delta("好", (7,)), _DONE]
    assert backend.complete(_REQUEST) is _DONE
    assert asyncio.run(backend.acomplete(_REQUEST)) is _DONE
    assert backend.pin(_REQUEST.segments) == _REQUEST.segments
    assert backend.evaluated_tokens is None
    backend.forget()
    backend.close()
    assert not backend.closed, "it has nothing to close"


def test_leaving_sets_the_requests_own_event() -> None:
    backend = _Scripted(Delta("好", (7,)), _DONE)
    stream = backend.stream(_REQUEST)
    next(stream)
    cancel = backend.requests[0].cancel
    assert cancel is not None
    assert not cancel.is_set()
    stream.close()
    assert cancel.is_set()


@pytest.mark.parametrize("items", [(), (Delta("一"),)])
def test_errors_reach_every_face(items: tuple[Delta, ...]) -> None:
    backend = _Scripted(*items, BackendTimeout("late"))
    with pytest.raises(BackendTimeout):
        list(backend.stream(_REQUEST))
    with pytest.raises(BackendTimeout):
        backend.complete(_REQUEST)
    with pytest.raises(BackendTimeout):
        asyncio.run(backend.acomplete(_REQUEST))


def test_a_closed_loop_cancels_instead_of_raising_in_the_worker() -> None:
    kept: list[Sink] = []

    class Late(_Scripted):
        def submit(self, request: Request, sink: Sink) -> None:
            self.requests.append(request)
            kept.append(sink)

    backend = Late()

    async def leave() -> None:
        task = asyncio.create_task(backend.acomplete(_REQUEST))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    kept[0](Delta("迟到"))
    cancel = backend.requests[0].cancel
    assert cancel is not None
    assert cancel.is_set()


def test_the_errors_of_backends_are_one_family() -> None:
    assert issubclass(BackendTimeout, BackendError)
