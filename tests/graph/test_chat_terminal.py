"""`empathy-agent chat` in a real terminal: keys, Ctrl-C at any moment, kill -9, what is left on disk."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pexpect = pytest.importorskip("pexpect")

MAIN = """
import sys
from importlib.metadata import EntryPoint
from empathy_agent import cli
{prepare}
cli._call(EntryPoint("chat", "empathy_graph.commands:chat", cli.GROUP), sys.argv[1:])
"""
SLOW = """
import empathy_graph.agent
from empathy_agent.backends.fake import FakeBackend
line = ["慢慢说的一句话。" * 60, "好，我在听。"]
empathy_graph.agent.open_backend = lambda model: FakeBackend({"answer": line}, delay_s=0.01)
"""
STUCK_MODEL = """
import threading
import empathy_graph.agent
def stuck(model):
    print("STUCK", flush=True)
    threading.Event().wait()
empathy_graph.agent.open_backend = stuck
"""
STUCK_IMPORT = """
import threading
from importlib.abc import MetaPathFinder
class Stuck(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "empathy_graph.chat.session":
            print("STUCK", flush=True)
            threading.Event().wait()
sys.meta_path.insert(0, Stuck())
"""
READY = "\x1b[?2004h"
"""Bracketed paste is switched on: the prompt takes keys."""
COLOUR = re.compile(r"\x1b\[(\d+;)*(3[0-8]|9[0-7])[;m]")
ENTER, CTRL_C, CTRL_D = "\r", "\x03", "\x04"

Child = Any
"""A `pexpect.spawn`; pexpect ships no types."""
Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start chats in a terminal of their own; whatever still runs at the end is killed."""
    children = []
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "XDG_DATA_HOME": str(tmp_path),
        "LC_ALL": "zh_CN.UTF-8",
        "PYTHONUTF8": "1",
        "TERM": "xterm-256color",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }

    def run(*arguments: str, prepare: str = "", **extra: str) -> Child:
        child = pexpect.spawn(
            sys.executable,
            ["-c", MAIN.format(prepare=prepare), *arguments],
            env={**environ, **extra},
            encoding="utf-8",
            timeout=60,
            dimensions=(24, 80),
            # Whoever runs the tests in the background has told them to ignore it.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        child.logfile_read = Transcript()
        children.append(child)
        return child

    yield run
    for child in children:
        child.close(force=True)
        assert "Traceback" not in child.logfile_read.text


class Transcript:
    """Everything a terminal was sent."""

    text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing waits."""


def status(child: Child) -> int:
    """Wait for the end and return the exit status, negative for a signal."""
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus) if child.exitstatus is not None else -int(child.signalstatus)


def test_ctrl_c_stops_a_reply_and_not_the_program(start: Start) -> None:
    child = start("--show-chain", prepare=SLOW, NO_COLOR="1")
    child.expect("我是人工智能")
    child.expect_exact(READY)
    child.send("最近很累。" + ENTER)
    child.expect("慢慢说的一句话。")
    child.send(CTRL_C)
    child.expect("（已停止）")
    child.expect_exact(READY)
    child.send("wrong" + CTRL_C + "另一件事。" + ENTER)
    child.expect("好，我在听。")
    child.expect_exact(READY)
    child.send(CTRL_C + CTRL_C)
    child.expect("要离开，按 Ctrl-D")
    child.send("/nothing" + ENTER)
    child.expect("没有这个命令")
    child.expect_exact(READY)
    child.kill(signal.SIGINT)  # a signal at the prompt, where Ctrl-C is a key
    child.send(CTRL_D)
    assert status(child) == 0


@pytest.mark.parametrize("prepare", [STUCK_IMPORT, STUCK_MODEL], ids=["modules", "model"])
def test_ctrl_c_while_something_loads_ends_the_program_quietly(start: Start, prepare: str) -> None:
    child = start(prepare=prepare)
    child.expect("STUCK")
    child.send(CTRL_C)
    assert status(child) == -signal.SIGINT


def test_a_pasted_text_is_one_message_and_a_killed_chat_goes_on(
    start: Start, tmp_path: Path
) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    child = start("--model", "fake")
    child.expect_exact(READY)
    child.send("\x1b[200~第一行很累\r\n\r\n/quit\r\n第四行\x1b[201~" + ENTER)
    child.expect("谢谢你愿意说出来")
    child.expect_exact(READY)
    child.send("/save 夜里" + ENTER)
    child.expect("从现在起")
    child.expect_exact(READY)
    child.send("睡不着" + ENTER)
    child.expect("谢谢你愿意说出来")
    child.expect_exact(READY)
    child.kill(signal.SIGKILL)
    assert status(child) == -signal.SIGKILL

    child = start("--model", "fake", "--thread", "夜里")
    child.expect("睡不着")
    child.expect("已有 4 条消息")
    child.expect_exact(READY)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "empathy-agent").iterdir())
    assert "第一行很累\n\n/quit\n第四行".encode() in stored
    child.send("/forget" + ENTER)
    child.expect_exact("\x1b[3J")
    child.expect("已经删掉了")
    child.expect_exact(READY)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "empathy-agent").iterdir())
    assert not [word for word in ("第一行", "睡不着", "谢谢你", "夜里") if word.encode() in stored]
    child.send("/quit" + ENTER)
    assert status(child) == 0


@pytest.mark.model
def test_the_embedded_model_answers_in_a_terminal(start: Start) -> None:
    child = start("--seed", "1")
    child.expect_exact(READY)
    child.send("最近总是睡不着，心里很乱。" + ENTER)
    child.expect_exact(READY)
    child.send("/chain" + ENTER)
    child.expect("L1 情绪")
    child.expect_exact(READY)
    child.send("说说看。" + ENTER)
    child.expect("…")
    child.send(CTRL_C)
    child.expect("（已停止）|[。？！]")
    child.expect_exact(READY)
    child.send(CTRL_D)
    assert status(child) == 0
