"""Against a real llama_cpp.server in its own process: text prompts, no usage, one call at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.backends.requests import Completion, Delta, Message, Request
from empathy_agent.config import Budgets, Sampling, Settings
from empathy_agent.errors import BackendCancelled, ContextOverflow
from empathy_agent.segments import ALL_TAGS, NEWLINE, Segment
from empathy_agent.testing.hostile import HOSTILE
from empathy_graph.agent import EmpathyAgent
from tests.graph.posts import POST

pytestmark = pytest.mark.enable_socket

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=0)
BUDGETS = Budgets(emotion=12, cause=12, intention=12, strategy=12, answer=24)


@pytest.fixture
def backend(llama_cpp_url: str) -> Iterator[CompletionsBackend]:
    with CompletionsBackend(llama_cpp_url, context_size=8192, back_off_s=0.01) as backend:
        yield backend


def request(backend: CompletionsBackend, count: int = 16, post: str = POST) -> Request:
    return Request(backend.render([Message("user", post)]), (), count, GREEDY)


def test_the_probe_knows_the_server(backend: CompletionsBackend) -> None:
    assert backend.flavour == "llama_cpp.server"
    assert backend.name == "served"
    assert not backend.capabilities.ids
    assert not backend.capabilities.control_tags
    assert backend.capabilities.parallel_sequences == 1


def test_its_default_context_is_assumed_where_none_is_given(llama_cpp_url: str) -> None:
    with CompletionsBackend(llama_cpp_url) as backend:
        assert backend.context_size == 2048


def test_text_streams_and_adds_up(backend: CompletionsBackend) -> None:
    *deltas, last = backend.stream(request(backend))
    assert isinstance(last, Completion)
    assert len(deltas) > 4
    assert "".join(one.text for one in deltas if isinstance(one, Delta)) == last.text
    assert last.finish == "length"
    assert last.usage.prompt_tokens == backend.count_tokens(request(backend).segments)
    assert last.usage.completion_tokens > 0


def test_a_stop_string_ends_it(backend: CompletionsBackend) -> None:
    free = backend.complete(request(backend, 40)).text
    stop = free[len(free) // 2 :][:3]
    stopped = backend.complete(replace(request(backend, 40), stop=(stop,)))
    assert stopped.finish == "stop"
    assert stopped.text == free[: free.index(stop)]


def test_a_follow_up_continues_where_the_first_ended(backend: CompletionsBackend) -> None:
    whole = backend.complete(request(backend, 24)).text
    first = backend.complete(request(backend, 12))
    segments = (*request(backend).segments, first.segment)
    second = backend.complete(Request(segments, (), 12, GREEDY))
    assert first.text
    assert whole.startswith(first.text)
    assert second.text
    follow_up = Request((*segments, second.segment, NEWLINE), (), 4, GREEDY)
    assert backend.complete(follow_up).usage.prompt_tokens > second.usage.prompt_tokens


def test_a_cancel_ends_generation_there(backend: CompletionsBackend) -> None:
    cancel = threading.Event()
    stream = backend.stream(replace(request(backend, 120), cancel=cancel))
    next(stream)
    cancel.set()
    with pytest.raises(BackendCancelled):
        list(stream)
    # The server does one thing at a time: it answers again only because the other has ended.
    assert backend.complete(replace(request(backend, 4), deadline=time.monotonic() + 20)).text


@pytest.mark.parametrize("post", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_continued_like_any_other(backend: CompletionsBackend, post: str) -> None:
    completion = backend.complete(replace(request(backend, 4, post), stop=ALL_TAGS))
    assert not any(tag in completion.text for tag in ALL_TAGS)


def test_what_does_not_fit_is_told_before_it_is_sent(backend: CompletionsBackend) -> None:
    with pytest.raises(ContextOverflow, match="context_size"):
        backend.complete(Request((Segment("长" * 9000),), (), 4, GREEDY))


def test_conversations_take_turns_and_both_are_answered(backend: CompletionsBackend) -> None:
    texts: dict[str, str] = {}

    def talk(post: str) -> None:
        texts[post] = backend.complete(request(backend, 40, post)).text

    posts = [f"{POST}{index}" for index in range(4)]
    threads = [threading.Thread(target=talk, args=(post,)) for post in posts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {post: backend.complete(request(backend, 40, post)).text for post in posts} == texts


async def test_a_whole_turn_runs_over_it(backend: CompletionsBackend) -> None:
    agent = EmpathyAgent(backend, settings=Settings(budgets=BUDGETS, sampling=Sampling(seed=3)))
    reply = await agent.ainvoke(POST)
    assert reply.finish in ("stop", "length")
    assert reply.answer
    assert reply.chain.emotion is not None
    assert reply.model == "served"
    assert reply.usage.completion_tokens > 0


@pytest.mark.model
def test_the_embedded_model_answers_over_it(embedded_url: str) -> None:
    settings = Settings(sampling=Sampling(seed=3), budgets=Budgets(answer=80))
    with CompletionsBackend(embedded_url, chat_template="plain", context_size=8192) as backend:
        reply = EmpathyAgent(backend, settings=settings).invoke(POST)
    assert reply.finish in ("stop", "length")
    assert reply.answer
