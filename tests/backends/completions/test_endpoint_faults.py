"""What a failing server leads to: attempts, words, and nothing lost of what was received."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from queue import SimpleQueue

import pytest

from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.backends.requests import Completion, Delta, Event, Message, Request
from empathy_agent.config import Sampling, Settings
from empathy_agent.errors import (
    BackendBusy,
    BackendCancelled,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ContextOverflow,
)
from empathy_agent.segments import LAYER_OPEN, NEWLINE, THINK_OPEN, control
from empathy_agent.testing.fault_server import FAULTS, SECRET, Fault, FaultServer
from empathy_graph.agent import EmpathyAgent
from tests.graph.posts import IMMINENT, POST

pytestmark = pytest.mark.enable_socket

RECOVERED: tuple[Fault, ...] = (
    "none",
    "429 with Retry-After",
    "503",
    "500",
    "cut before the first byte",
    "cut in mid-stream",
    "error in mid-stream",
    "empty choices",
    "line that is no JSON",
    "HTML error page",
    "slow drip",
    "unknown field",
)
REFUSED: dict[Fault, tuple[type[BackendError], str]] = {
    "429 for long": (BackendBusy, "429"),
    "silence": (BackendTimeout, "read_timeout_s"),
    "JSON of another shape": (BackendError, "another shape"),
    "HTML page": (BackendError, "event stream"),
    "redirect": (BackendUnavailable, "base_url"),
    "401": (BackendUnavailable, "api_key"),
    "404": (BackendUnavailable, "model"),
    "context length": (ContextOverflow, "context"),
}
EXHAUSTED: dict[Fault, tuple[type[BackendError], str]] = {
    "429 with Retry-After": (BackendBusy, "429"),
    "503": (BackendUnavailable, "503"),
    "500": (BackendUnavailable, "500"),
    "HTML error page": (BackendUnavailable, "502"),
    "cut before the first byte": (BackendUnavailable, "broke off"),
    "cut in mid-stream": (BackendUnavailable, "broke off"),
    "error in mid-stream": (BackendUnavailable, "broke off"),
    "empty choices": (BackendUnavailable, "broke off"),
    "line that is no JSON": (BackendError, "no JSON object"),
}


def opened(server: FaultServer, **options: object) -> CompletionsBackend:
    chosen = {"back_off_s": 0.001, "read_timeout_s": 0.3, **options}
    return CompletionsBackend(server.url, **chosen)  # type: ignore[arg-type]


def request(backend: CompletionsBackend, **changes: object) -> Request:
    rendered = backend.render([Message("user", POST)])
    opening = (control(THINK_OPEN), NEWLINE, control(LAYER_OPEN["emotion"]))
    chosen = {"stop": ("</L1>",), "sampling": Sampling(seed=1), **changes}
    return Request((*rendered, *opening), **chosen)  # type: ignore[arg-type]


@pytest.fixture
def expected() -> Iterator[str]:
    with FaultServer() as server, opened(server) as backend:
        yield backend.complete(request(backend)).text


@pytest.mark.parametrize("fault", RECOVERED)
def test_a_passing_fault_costs_an_attempt_and_no_text(fault: Fault, expected: str) -> None:
    with FaultServer([fault]) as server, opened(server) as backend:
        *deltas, last = backend.stream(request(backend))
    assert isinstance(last, Completion)
    assert last.text == expected
    assert last.finish == "stop"
    assert "".join(one.text for one in deltas if isinstance(one, Delta)) == expected
    assert len(server.bodies) == (1 if fault in ("none", "slow drip") else 2)


def test_what_was_received_is_sent_again_as_the_beginning(expected: str) -> None:
    faults: list[Fault] = ["cut in mid-stream", "error in mid-stream"]
    with FaultServer(faults) as server, opened(server) as backend:
        completion = backend.complete(request(backend))
    first, second, third = (body["prompt"] for body in server.bodies)
    assert second.startswith(first)
    assert third.startswith(second)
    assert expected.startswith(third.removeprefix(first))
    assert completion.text == expected
    limits = [body["max_tokens"] for body in server.bodies]
    assert limits == sorted(limits, reverse=True)


@pytest.mark.parametrize("fault", REFUSED)
def test_a_lasting_fault_is_told_at_once_in_words(fault: Fault) -> None:
    kind, words = REFUSED[fault]
    with FaultServer([fault], forever=True) as server, opened(server) as backend:
        with pytest.raises(kind, match=words) as caught:
            backend.complete(request(backend))
    assert len(server.bodies) == 1
    assert_silent(caught.value)


@pytest.mark.parametrize("fault", EXHAUSTED)
def test_attempts_end_and_the_last_fault_is_told(fault: Fault) -> None:
    kind, words = EXHAUSTED[fault]
    with FaultServer([fault], forever=True) as server, opened(server, retries=2) as backend:
        with pytest.raises(kind, match=words) as caught:
            backend.complete(request(backend))
    assert len(server.bodies) == 3
    assert caught.value.retryable
    assert_silent(caught.value)


def assert_silent(error: BaseException | None) -> None:
    while error is not None:
        told = f"{error!r}{error}{getattr(error, '__notes__', '')}"
        assert POST[:6] not in told
        assert SECRET not in told
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_is_logged_or_printed(
    fault: Fault, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with FaultServer([fault]) as server, opened(server) as backend:
        try:
            backend.complete(request(backend))
        except BackendError:
            pass
    assert POST[:6] not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_server_that_is_not_there_is_named() -> None:
    with FaultServer() as server:
        url = server.url
    with CompletionsBackend(url) as backend:
        with pytest.raises(BackendUnavailable, match="start the server"):
            backend.count_tokens([NEWLINE])
        assert not backend.capabilities.ids


def test_a_server_that_answers_only_later_is_found_then() -> None:
    server = FaultServer()  # it listens, but nobody answers before the block is entered
    with opened(server) as backend:
        with pytest.raises(BackendTimeout, match="sent nothing"):
            backend.render([Message("user", POST)])
        with server:
            assert backend.render([Message("user", POST)])
            assert backend.name == "scripted"


@pytest.mark.parametrize("fault", ["slow drip", "silence"])
def test_a_deadline_ends_a_slow_answer(fault: Fault) -> None:
    with FaultServer([fault]) as server, opened(server, read_timeout_s=30) as backend:
        late = request(backend, deadline=time.monotonic() + 0.15)
        with pytest.raises(BackendTimeout):
            backend.complete(late)
        assert server.left.wait(5)


def test_an_attempt_that_the_deadline_forbids_is_not_waited_for() -> None:
    with FaultServer(["503"]) as server, opened(server, back_off_s=20) as backend:
        with pytest.raises(BackendUnavailable, match="503"):
            backend.complete(request(backend, deadline=time.monotonic() + 3))


@pytest.mark.parametrize("fault", ["slow drip", "silence"])
def test_a_cancel_ends_the_request_and_closes_the_connection(fault: Fault) -> None:
    cancel = threading.Event()
    events: SimpleQueue[Event | BaseException] = SimpleQueue()
    with FaultServer([fault]) as server, opened(server, read_timeout_s=30) as backend:
        backend.submit(request(backend, cancel=cancel), events.put)
        assert server.asked.wait(5)
        cancel.set()
        while isinstance(last := events.get(timeout=5), Delta):
            pass
        assert isinstance(last, BackendCancelled)
        assert server.left.wait(5)


def test_a_stop_string_that_the_server_overlooks_ends_the_answer_here() -> None:
    with FaultServer(["slow drip"]) as server, opened(server) as backend:
        free = backend.complete(request(backend)).text
        stop = free[10:12]
        stops = ("</L1>", "</L2>", "</L3>", "</L4>", stop)  # OpenAI takes four
        *deltas, last = backend.stream(request(backend, stop=stops))
        assert server.bodies[-1]["stop"] == list(stops[:4])
    assert isinstance(last, Completion)
    assert last.text == free[: free.index(stop)]
    assert last.finish == "stop"
    assert "".join(one.text for one in deltas if isinstance(one, Delta)) == last.text


def test_a_refused_field_is_left_out_from_then_on() -> None:
    with FaultServer(["unknown field"], forever=True) as server, opened(server) as backend:
        backend.complete(request(backend))
        backend.complete(request(backend))
    assert ["stream_options" in body for body in server.bodies] == [True, False, False]


def test_more_requests_than_the_queue_holds_are_refused_but_not_a_chain_under_way() -> None:
    events: SimpleQueue[Event | BaseException] = SimpleQueue()
    with FaultServer(["silence"], forever=True) as server:
        with opened(server, max_parallel=1, max_waiting=1, read_timeout_s=30) as backend:
            backend.submit(request(backend, session="chain", keep=True), events.put)
            backend.submit(request(backend), events.put)
            with pytest.raises(BackendBusy, match="1 requests wait"):
                backend.submit(request(backend), events.put)
            backend.submit(request(backend, session="chain"), events.put)
        ends = [events.get(timeout=5) for _ in range(3)]
    assert all(isinstance(one, BackendUnavailable) for one in ends)
    assert backend.closed


def test_the_session_goes_into_the_affinity_header_and_the_key_into_its_own() -> None:
    headers = {"X-Team": "blue"}
    with FaultServer() as server:
        options = {"affinity_header": "X-Session-ID", "api_key": "sk-0", "headers": headers}
        with opened(server, **options) as backend:
            backend.complete(request(backend, session="a1b2"))
            backend.complete(request(backend))
            assert "sk-0" not in repr(vars(backend))
    first, second = server.headers
    assert first["x-session-id"] == "a1b2"
    assert "x-session-id" not in second
    assert first["authorization"] == "Bearer sk-0"
    assert first["x-team"] == "blue"


def test_a_whole_turn_survives_a_fault_in_each_part() -> None:
    with FaultServer() as server, opened(server) as backend:
        expected = EmpathyAgent(backend).invoke(POST)
    faults: list[Fault] = ["cut in mid-stream", "none", "503", "none", "error in mid-stream"]
    with FaultServer(faults) as server, opened(server) as backend:
        reply = EmpathyAgent(backend).invoke(POST)
    assert reply.finish == "stop"
    assert reply.chain == expected.chain
    assert reply.answer == expected.answer
    assert not reply.warnings


def test_the_parts_of_a_turn_send_the_same_beginning() -> None:
    with FaultServer() as server, opened(server, affinity_header="X-Session-ID") as backend:
        EmpathyAgent(backend).invoke(POST)
    prompts = [body["prompt"] for body in server.bodies]
    shared = prompts[0].removesuffix(LAYER_OPEN["emotion"])
    assert all(prompt.startswith(shared) for prompt in prompts)
    assert all(later.startswith(before.rpartition("<")[0]) for before, later in pairwise(prompts))
    assert len({headers["x-session-id"] for headers in server.headers}) == 1


@pytest.mark.parametrize("post", [POST, IMMINENT])
def test_a_turn_without_a_server_is_answered_all_the_same(post: str) -> None:
    with FaultServer() as server:
        url = server.url
    with CompletionsBackend(url) as backend:
        reply = EmpathyAgent(backend).invoke(post)
        assert reply.finish == ("crisis" if post == IMMINENT else "safe_reply")
        assert reply.answer
        if post == POST:
            with pytest.raises(BackendUnavailable):
                EmpathyAgent(backend, settings=Settings(on_fault="raise")).invoke(post)
