"""The fake: its scripts, and the accounting it shares with the real backend."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.fake import END, FakeBackend
from empathy_agent.backends.requests import Completion, Delta, Message, Request
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendError, BackendTimeout, ContextOverflow
from empathy_agent.segments import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    NEWLINE,
    THINK_CLOSE,
    THINK_OPEN,
    Segment,
    control,
)
from empathy_agent.transcript import parse_strict
from empathy_agent.vocabulary import LAYERS

POST = "最近他总是很晚才回消息，我一个人在宿舍里胡思乱想。"


def _prompt(backend: Backend, post: str = POST) -> tuple[Segment, ...]:
    rendered = backend.render([Message("system", "你是倾听者。"), Message("user", post)])
    return (*rendered, control(THINK_OPEN), NEWLINE)


def _ask(backend: Backend, tag: str = "L1", post: str = POST) -> Completion:
    return backend.complete(
        Request((*_prompt(backend, post), control(f"<{tag}>")), (f"</{tag}>",), 500)
    )


@pytest.mark.parametrize("control_tags", [True, False])
def test_a_whole_chain_computes_no_token_twice(control_tags: bool) -> None:
    with FakeBackend(control_tags=control_tags) as backend:
        segments = _prompt(backend)
        for layer in LAYERS:
            segments = (*segments, control(LAYER_OPEN[layer]))
            done = backend.complete(Request(segments, (LAYER_CLOSE[layer],)))
            assert done.finish == "stop"
            segments = (*segments, done.segment, control(LAYER_CLOSE[layer]), NEWLINE)
        segments = (*segments, control(THINK_CLOSE), NEWLINE, control(ANSWER_OPEN))
        done = backend.complete(Request(segments, (ANSWER_CLOSE,)))
        whole = backend.count_tokens((*segments, done.segment, control(ANSWER_CLOSE)))
        assert backend.evaluated_tokens == whole - 1


def test_the_default_script_quotes_the_post_in_its_language() -> None:
    with FakeBackend() as backend:
        assert "「最近他总是很晚才回消息」" in _ask(backend).text
        english = _ask(backend, "answer", "I lie awake going over it, every night.").text
        assert '"I lie awake going over it"' in english
        assert _ask(backend, "L1", "").text.startswith("焦虑")


def test_a_single_pass_writes_the_whole_transcript() -> None:
    with FakeBackend() as backend:
        request = Request(backend.render([Message("user", POST)]), (ANSWER_CLOSE,), 2000)
        text = backend.complete(request).text + ANSWER_CLOSE
        parse_strict(text)


def test_a_part_that_was_begun_is_continued() -> None:
    with FakeBackend({"L3": "倾听。她想说说话。"}) as backend:
        segments = (*_prompt(backend), control("<L3>"), Segment("倾听。"))
        assert backend.complete(Request(segments, ("</L3>",))).text == "她想说说话。"


def test_a_mapping_is_keyed_by_part_or_closing_tag() -> None:
    with FakeBackend({"L1": "一", "</L2>": "二"}) as backend:
        assert [_ask(backend, tag).text for tag in ("L1", "L2")] == ["一", "二"]
        assert _ask(backend, "L4").text.startswith("命名感受")
        assert [call.part for call in backend.calls] == ["L1", "L2", "L4"]
        assert POST in backend.calls[0].prompt


def test_lists_are_used_up_in_order() -> None:
    with FakeBackend(["一", "二"]) as backend:
        assert [_ask(backend, tag).text for tag in ("L1", "L2")] == ["一", "二"]
        with pytest.raises(BackendError, match="no line left for 'L3'"):
            _ask(backend, "L3")
    with FakeBackend({"L1": ["甲", "乙"]}) as backend:
        assert [_ask(backend).text for _ in range(2)] == ["甲", "乙"]


def test_functions_get_the_request() -> None:
    with FakeBackend(lambda request: request.stop[0].strip("</>")) as backend:
        assert _ask(backend, "L2").text == "L2"
    with FakeBackend({"L2": lambda request: str(request.max_new_tokens)}) as backend:
        assert _ask(backend, "L2").text == "500"


def test_exceptions_are_raised_and_foreign_ones_are_silenced() -> None:
    with FakeBackend({"L1": BackendTimeout("scripted"), "L2": ValueError("桔梗")}) as backend:
        with pytest.raises(BackendTimeout, match="scripted"):
            _ask(backend, "L1")
        with pytest.raises(BackendError) as caught:
            _ask(backend, "L2")
        assert "桔梗" not in str(caught.value)
        assert _ask(backend, "L3").text, "the fake lives on"


def test_a_line_may_end_the_models_turn() -> None:
    with FakeBackend({"L1": f"没写完{END}"}) as backend:
        done = _ask(backend)
        assert (done.text, done.finish) == ("没写完", "eos")
        assert backend.complete(Request(_prompt(backend), (), 2000)).finish == "eos"


def test_a_line_that_holds_the_stop_ends_there() -> None:
    with FakeBackend({"L1": "早了</L1>多余"}) as backend:
        assert _ask(backend).text == "早了"


def test_budgets_and_minimum_counts_are_kept() -> None:
    with FakeBackend({"L1": "一二三四五"}) as backend:
        segments = (*_prompt(backend), control("<L1>"))
        short = backend.complete(Request(segments, ("</L1>",), 3))
        assert (short.text, short.finish) == ("一二三", "length")
        long = backend.complete(Request(segments, ("</L1>",), 50, min_new_tokens=8))
        assert (long.text, long.finish) == ("一二三四五一二三", "stop")
        with pytest.raises(ValueError, match="max_new_tokens"):
            Request(segments, max_new_tokens=0)


def test_the_context_bounds_prompt_and_completion() -> None:
    with FakeBackend(lambda request: "长" * 1000, context_size=256) as backend:
        done = backend.complete(Request((Segment("问" * 200),), ("</L1>",), 500))
        assert (done.finish, len(done.text)) == ("length", 56)
        with pytest.raises(ContextOverflow, match="256 tokens"):
            backend.complete(Request((Segment("问" * 256),), (), 1))


def test_pinned_segments_are_not_tokenised_again() -> None:
    with FakeBackend() as backend, FakeBackend(control_tags=False) as other:
        pinned = backend.pin((Segment("ab"), control("</L1>")))
        assert pinned[0].ids == (97, 98)
        assert len(pinned[1].ids or ()) == 1
        assert other.fingerprint != backend.fingerprint
        assert other.count_tokens(pinned) == 7, "another tokenizer's ids are not taken"
        lied = Segment("ab", ids=(1, 2, 3), fingerprint=backend.fingerprint)
        assert backend.count_tokens((lied,)) == 3


def test_forget_drops_what_was_cached() -> None:
    with FakeBackend() as backend:
        _ask(backend)
        assert _ask(backend).usage.reused_tokens > 0
        backend.forget()
        assert _ask(backend).usage.reused_tokens == 0


def test_more_requests_than_sequences_all_finish() -> None:
    with FakeBackend(parallel_sequences=2, context_size=512) as backend:
        results: list[str] = []

        def ask(number: int) -> None:
            results.append(_ask(backend, post=f"第{number}个人说，今天很累").finish)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(20)
        assert results == ["stop"] * 6


def test_a_deadline_beats_a_slow_model() -> None:
    with FakeBackend(delay_s=0.02) as backend:
        request = Request(_prompt(backend), (), 500, deadline=time.monotonic() + 0.1)
        received: list[object] = []
        with pytest.raises(BackendTimeout):
            received.extend(backend.stream(request))
        assert 0 < len(received) < 10
        assert all(isinstance(one, Delta) for one in received)


def test_a_backend_that_is_forgotten_ends_its_thread() -> None:
    backend = FakeBackend()
    thread = backend._worker._thread
    del backend
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_sampling_is_irrelevant_to_a_script() -> None:
    with FakeBackend({"L1": "同"}) as backend:
        segments = (*_prompt(backend), control("<L1>"))
        request = Request(segments, ("</L1>",), 5, Sampling(temperature=2.0, seed=1))
        assert backend.complete(request).text == "同"
