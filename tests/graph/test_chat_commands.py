"""The slash commands of a chat, and the command line around it."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from empathy_agent import cli
from empathy_agent.errors import BackendUnavailable
from empathy_graph.chat.lines import Lines
from empathy_graph.chat.terminal import Terminal
from tests.graph.chat_parts import chatting
from tests.graph.posts import POST


@pytest.mark.parametrize(
    ("word", "support"),
    [("advice", "advice"), ("建议", "advice"), ("LISTENING", "listening"), ("倾听", "listening")],
)
def test_support_is_declared_by_either_name(tmp_path: Path, word: str, support: str) -> None:
    with chatting(tmp_path) as chat:
        chat.type(f"/support {word}", POST)
        assert chat.session.support == support
        reply = chat.session.conversation.last
        assert reply is not None
        assert reply.reply is not None
        assert reply.reply.chain.intention is not None
        assert reply.reply.chain.intention.declared


def test_support_is_shown_and_given_back_to_the_model(tmp_path: Path) -> None:
    with chatting(tmp_path, support="advice") as chat:
        assert "建议" in chat.type("/support")
        assert "可选" in chat.type("/support hugs")
        assert chat.session.support == "advice"
        assert "由模型" in chat.type("/support auto")
        assert chat.session.support is None


def test_chain_shows_the_last_one_or_all_from_now_on(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        assert "没有" in chat.type("/chain")
        assert "L1" not in chat.type(POST)
        shown = chat.type("/chain")
        assert all(f"L{number}" in shown for number in (1, 2, 3, 4))
        printed = chat.type("/chain on", POST)
        marks = [printed.index(mark) for mark in ("L1", "L4", "回复\n", "谢谢你")]
        assert marks == sorted(marks)
        assert "L1" not in chat.type("/chain off", POST)


def test_resources_are_those_of_the_region(tmp_path: Path) -> None:
    with chatting(tmp_path, region="CN") as chat:
        assert "12356" in chat.type("/resources")
    with chatting(tmp_path) as chat:
        assert "--region" in chat.type("/resources")


def test_an_unknown_command_gets_a_near_name_and_two_slashes_send_a_message(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        printed = chat.type("/retyr")
        assert "/retry" in printed
        assert "//" in printed
        assert chat.texts == []
        assert "/help 吗" not in chat.type("/再见")
        chat.type("//usr 是什么？")
        assert chat.texts[0] == "/usr 是什么？"
        chat.type("/一行\n又一行")
        assert chat.texts[2] == "/一行\n又一行"


@pytest.mark.parametrize("word", ["/quit", "/QUIT", "／quit", "quit", " Exit ", "退出"])
def test_many_words_leave(tmp_path: Path, word: str) -> None:
    with chatting(tmp_path) as chat:
        chat.type("   ")
        assert chat.goes_on
        assert chat.type(word) == ""
        assert not chat.goes_on


def test_help_names_every_command(tmp_path: Path) -> None:
    from empathy_graph.chat.commands import COMMANDS, LEAVE

    with chatting(tmp_path) as chat:
        for lang in ("zh", "en"):
            chat.session.view.lang = lang
            shown = chat.type("/help")
            assert all(f"/{name}" in shown for name in (*COMMANDS, LEAVE))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("hello\r", "hello"),
        ("one\x1b\rtwo\r", "one\ntwo"),
        ("one\ntwo\r", "one\ntwo"),
        ("\x1b[200~one\r\ntwo\r\n/quit\x1b[201~\r", "one\ntwo\n/quit"),
        ("wrong\x03right\r", "right"),
        ("\x03\x03\x03x\r", "x"),
        ("\x04", None),
    ],
)
def test_the_keys_of_the_prompt(keys: str, message: str | None) -> None:
    sent: list[int] = []
    lost: list[int] = []
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        terminal = Terminal(lambda: sent.append(1), lambda: lost.append(1))
        pipe.send_text(keys)
        assert terminal.read() == message
    assert len(sent) == (message is not None)
    assert len(lost) == keys.startswith("\x03\x03")


def test_forget_drops_what_the_arrow_keys_would_bring_back() -> None:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        terminal = Terminal(lambda: None, lambda: None)
        pipe.send_text("secret\r")
        terminal.read()
        pipe.send_text("\x1b[A\r")
        assert terminal.read() == "secret"
        terminal.forget()
        pipe.send_text("\x1b[A\r")
        assert terminal.read() == ""


def test_lines_of_a_pipe_are_messages_whatever_their_bytes() -> None:
    lines = Lines(io.BytesIO(b"\xef\xbb\xbfone\n\xff\n"))
    assert [lines.read(), lines.read(), lines.read()] == ["one\n", "\ufffd\n", None]


@pytest.fixture
def _default_sigint() -> Iterator[None]:
    """Give the test run its own SIGINT handling back: the command sets it for a process that ends."""
    earlier = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, earlier)


def run_command(*arguments: str) -> int:
    """Run `chat` in this process and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        cli._call(EntryPoint("chat", "empathy_graph.commands:chat", cli.GROUP), list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _default_sigint: None) -> Path:
    """Feed two messages on stdin and keep the data home in `tmp_path`."""
    lines = f"{POST}\n/chain\n后来他道歉了。\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_pipe_is_answered_line_by_line(piped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--model", "fake", "--support", "倾听", "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert out.count("谢谢你愿意说出来") == 2
    assert "L1 情绪" in out
    assert "\x1b" not in out
    assert err == ""
    assert not list(piped.iterdir())


def test_stored_chats_are_listed_resumed_and_deleted(
    piped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command("--list") == 0
    assert "nothing is stored" in capsys.readouterr().out
    assert run_command("--model", "fake", "--thread", "夜里") == 0
    assert "'夜里'" in capsys.readouterr().out
    assert run_command("--list") == 0
    assert "夜里\t4 messages" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run_command("--model", "fake", "--thread", "夜里") == 0
    out = capsys.readouterr().out
    assert "已有 4 条消息" in out
    assert "› 后来他道歉了。" in out
    assert run_command("--delete", "夜") == 2
    assert "did you mean '夜里'" in capsys.readouterr().err
    assert run_command("--delete", "夜里") == 0
    assert run_command("--delete", "夜里") == 2
    path = piped / "home" / "empathy-agent" / "chats.sqlite"
    assert "夜里".encode() not in path.read_bytes()


def test_a_named_file_without_a_thread_stores_under_the_time(
    piped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = piped / "own.sqlite"
    assert run_command("--model", "fake", "--history", str(path)) == 0
    assert run_command("--history", str(path), "--list") == 0
    assert "4 messages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--support", "hugs"), "empathy_support"),
        (("--lang", "de"), "empathy_lang"),
        (("--region", "CM"), "did you mean 'CN'"),
        (("--model", "nowhere.gguf"), "nowhere.gguf"),
    ],
)
def test_a_mistake_is_one_line(
    piped: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], word: str
) -> None:
    assert run_command("--model", "fake", *arguments) == 2
    err = capsys.readouterr().err
    assert word in err
    assert err.count("\n") == 1


def test_a_model_that_does_not_load_is_one_line(
    piped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: str) -> None:
        raise BackendUnavailable("it is not here")

    monkeypatch.setattr("empathy_graph.agent.open_backend", fail)
    assert run_command() == 1
    assert capsys.readouterr() == ("", "empathy-agent: it is not here\n")
