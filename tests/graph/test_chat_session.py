"""A chat's turns: what the model is shown, what a stopped or failed turn leaves, what is said."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from empathy_agent.backends.fake import FakeBackend, Script
from empathy_agent.backends.requests import Request
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendUnavailable
from empathy_graph.chat.conversation import Conversation
from empathy_graph.chat.session import PAUSE_S
from empathy_graph.chat.texts import language_of
from tests.graph.chat_parts import chatting
from tests.graph.posts import ELEVATED, ENGLISH, IMMINENT, POST, SECRET


def interrupt(request: Request) -> str:
    """Press Ctrl-C as the model begins to write, then write for long."""
    os.kill(os.getpid(), signal.SIGINT)
    return "这是很长的一句话。" * 50


def test_the_second_turn_shows_the_model_the_first(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        assert "谢谢你愿意说出来" in chat.type(POST)
        chat.type("后来他道歉了。")
        assert len(chat.texts) == 4
        assert POST in chat.backend.calls[-1].prompt
        assert chat.texts[1] in chat.backend.calls[-1].prompt


def test_a_chat_begins_with_the_notice_and_says_where_help_is(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        assert "我是人工智能" in chat.printed
        assert "/resources" in chat.printed


def test_the_first_message_sets_the_language_and_the_notice_is_given_in_it(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        assert "I am an AI" in chat.type(ENGLISH)
        assert "answer the last message anew" in chat.type("/help")
        assert "I am an AI" not in chat.type("我换中文说。")
    with chatting(tmp_path, lang="zh") as chat:
        assert "I am an AI" not in chat.type(ENGLISH)


def test_ctrl_c_stops_the_model_and_the_turn_stays_out_of_the_conversation(tmp_path: Path) -> None:
    script: Script = {"answer": [interrupt, "好，我在听。"]}
    with chatting(tmp_path, backend=FakeBackend(script, delay_s=0.001)) as chat:
        assert "（已停止）" in chat.type(POST)
        assert chat.texts == []
        computed = chat.backend.evaluated_tokens
        assert "好，我在听。" in chat.type("另一件事。")
        assert SECRET not in chat.backend.calls[-1].prompt
        # Far from all that the line holds was written before the model stopped.
        assert computed < 450


def test_ctrl_c_keeps_what_was_written_in_view(tmp_path: Path) -> None:
    with chatting(tmp_path, {"answer": "先听你说。" + "再听你说。" * 80}) as chat:
        show = chat.session.view.delta

        def press(text: str) -> None:
            show(text)
            os.kill(os.getpid(), signal.SIGINT)

        chat.session.view.delta = press  # type: ignore[method-assign]
        printed = chat.type(POST)
        assert "先听你说。" in printed
        assert printed.rstrip().endswith("（已停止）")
        assert "/retry" not in printed


def test_retry_after_a_stop_asks_the_same_again(tmp_path: Path) -> None:
    with chatting(tmp_path, {"answer": [interrupt, "好，我在听。"]}) as chat:
        chat.type(POST)
        chat.type("/retry")
        assert chat.texts == [POST, "好，我在听。"]


def test_a_stopped_message_that_bears_on_safety_stays_for_the_floor(tmp_path: Path) -> None:
    with chatting(tmp_path, {"answer": [interrupt, "好，我在听。"]}) as chat:
        assert "和安全有关" in chat.type(ELEVATED)
        assert chat.texts == [ELEVATED]
        chat.type("没事了，聊点别的。")
        reply = chat.session.conversation.last
        assert reply is not None
        assert reply.level == "elevated"
        assert "求助热线" in chat.texts[-1]
        assert ELEVATED in chat.backend.calls[-1].prompt


def test_ctrl_c_between_two_turns_stops_neither(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        chat.type(POST)
        os.kill(os.getpid(), signal.SIGINT)
        assert "（已停止）" not in chat.type("后来他道歉了。")


def test_ctrl_c_before_the_first_token_stops_the_turn(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        chat.session.view.wait = lambda: os.kill(os.getpid(), signal.SIGINT)  # type: ignore[assignment,misc]
        assert "（已停止）" in chat.type(POST)
        assert chat.backend.calls == []
        assert chat.texts == []
        chat.type(IMMINENT)
        assert chat.texts == [IMMINENT]


def test_retry_replaces_the_reply_and_draws_with_another_seed(tmp_path: Path) -> None:
    script = {"answer": ["第一次的话。", "第二次的话。", interrupt]}
    with chatting(tmp_path, script, sampling=Sampling(seed=2**32 - 1)) as chat:
        assert "还没有" in chat.type("/retry")
        chat.type(POST, "/retry")
        assert chat.texts == [POST, "第二次的话。"]
        seeds = [call.request.sampling.seed for call in chat.backend.calls if call.part == "answer"]
        assert seeds == [2**32 - 1, 0]
        assert "（已停止）" in chat.type("/retry")
        assert chat.texts == [POST, "第二次的话。"]


def test_a_fault_gives_a_safe_reply_and_a_note_and_the_chat_goes_on(tmp_path: Path) -> None:
    script = {"answer": [BackendUnavailable("gone"), "好，我在听。"]}
    with chatting(tmp_path, script) as chat:
        printed = chat.type(POST)
        assert "抱歉" in printed
        assert "注意：node 'respond' failed" in printed
        assert "好，我在听。" in chat.type("后来他道歉了。")


@pytest.mark.parametrize(("post", "has_help"), [(POST, False), (IMMINENT, True)])
def test_a_turn_that_raises_still_ends_in_words(tmp_path: Path, post: str, has_help: bool) -> None:
    with chatting(tmp_path, region="CN") as chat:

        async def fail(*_: object) -> None:
            raise RuntimeError(post)

        chat.session._stream = fail  # type: ignore[assignment]
        printed = chat.type(post)
        assert "RuntimeError" in printed
        assert post not in printed
        assert ("12356" in printed) is has_help
        assert chat.texts == ([post] if has_help else [])


def test_a_message_too_long_for_the_model_is_told_in_words(tmp_path: Path) -> None:
    with chatting(tmp_path, backend=FakeBackend(context_size=256)) as chat:
        assert "注意" in chat.type(POST * 40)
        assert chat.goes_on


def test_an_imminent_message_gets_the_fixed_reply_with_the_regions_lines(tmp_path: Path) -> None:
    with chatting(tmp_path, region="CN") as chat:
        assert "12356" in chat.type(IMMINENT)
        assert chat.backend.calls == []


def test_after_two_hours_a_break_is_suggested_with_the_notice(tmp_path: Path) -> None:
    now = [0.0]
    with chatting(tmp_path, clock=lambda: now[0]) as chat:
        assert "歇一歇" not in chat.type(POST)
        now[0] = PAUSE_S
        assert "我是人工智能" in chat.type(POST)
        assert "歇一歇" not in chat.type(POST)


def test_what_a_model_writes_cannot_steer_the_terminal(tmp_path: Path) -> None:
    script = {"L1": "焦虑。\x1b[2J", "answer": "我在\x1b]0;x\x07听\x9b31m。\u202e反\r了。"}
    with chatting(tmp_path, script, show_chain=True) as chat:
        printed = chat.type("看看\x1b[31m这个。")
        assert "听" in printed
        assert not set(printed) & set("\x1b\x07\x9b\u202e\r")
        assert chat.texts[0] == "看看[31m这个。"


def test_rich_markup_and_emoji_codes_are_shown_as_they_are(tmp_path: Path) -> None:
    with chatting(tmp_path, {"answer": "[bold]我在[/bold] :smile: 听。"}) as chat:
        assert "[bold]我在[/bold] :smile: 听。" in chat.type(POST)


def test_no_words_reach_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        chatting(tmp_path, {"answer": [interrupt, "好。"]}) as chat,
    ):
        chat.type(POST, POST, "/save", "/forget")
    assert SECRET not in caplog.text


def test_nothing_touches_the_disk_unless_asked_for(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        chat.type(POST, "/retry", "/chain", "/forget")
    assert list(tmp_path.iterdir()) == []


def test_the_locale_or_the_model_chooses_the_language() -> None:
    assert language_of({"LANG": "zh_CN.UTF-8"}) == "zh"
    assert language_of({"LANG": "zh_CN.UTF-8", "LC_ALL": "de_DE.UTF-8"}) == "en"
    assert language_of({"LANG": "C.UTF-8"}) == "en"
    assert language_of({}, ("zh",)) == "zh"


def test_a_conversation_of_another_program_can_begin_and_end_with_anything() -> None:
    greeting: list[AnyMessage] = [SystemMessage("x"), AIMessage("你好")]
    conversation = Conversation(greeting)
    assert conversation.ask_again() is None
    assert conversation.begin("嗯").asked[:2] == tuple(greeting)
    answered = Conversation([*greeting, HumanMessage("嗯"), AIMessage("好")])
    assert answered.last is not None
    assert answered.last.reply is None
    assert len(answered.messages) == 4
