"""The command line: what it prints, where, and with which status."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import pytest

from empathy_agent import cli
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.chain import EmpathyReply
from empathy_agent.errors import BackendUnavailable
from tests.graph.posts import ENGLISH, IMMINENT, POST

COMMANDS = ("ask", "chat", "doctor", "graph")


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, installed or not."""
    points = [EntryPoint(name, f"empathy_graph.commands:{name}", cli.GROUP) for name in COMMANDS]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)

    def run(*arguments: str, stdin: bytes | None = None) -> Ended:
        stream = io.TextIOWrapper(io.BytesIO(stdin or b""), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run


def test_help_lists_the_commands(command: Command) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        status, out, _ = command(*arguments)
        assert status == 0
        assert all(name in out for name in COMMANDS)
    assert "--support" in command("ask", "--help").out


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version").out.startswith("empathy-agent ")


def test_an_unknown_command_gets_a_near_name_and_is_not_echoed(command: Command) -> None:
    status, out, err = command("aks")
    assert (status, out) == (2, "")
    assert "did you mean 'ask'" in err
    assert POST not in command(POST).err


@pytest.mark.parametrize("way", ["argument", "file", "stdin", "dash"])
def test_ask_takes_a_post_from_anywhere(command: Command, tmp_path: Path, way: str) -> None:
    path = tmp_path / "post.txt"
    path.write_text(POST, encoding="utf-8-sig")
    given = {"argument": [POST], "file": ["--file", str(path)], "stdin": [], "dash": ["-"]}[way]
    status, out, _ = command("ask", *given, "--model", "fake", stdin=POST.encode())
    assert status == 0
    assert "谢谢你愿意说出来" in out
    assert "人工智能" in out
    assert "L1" not in out


def test_ask_shows_the_chain_before_the_answer(command: Command) -> None:
    out = command("ask", POST, "--model", "fake", "--show-chain").out
    marks = [out.index(mark) for mark in ("L1", "L2", "L3", "L4", "谢谢你愿意说出来")]
    assert marks == sorted(marks)


def test_ask_speaks_english_to_english(command: Command) -> None:
    out = command("ask", ENGLISH, "--model", "fake").out
    assert "I am an AI" in out
    assert "Thank you for telling me" in out


def test_json_prints_one_reply_and_nothing_else(command: Command) -> None:
    arguments = ("ask", POST, "--model", "fake", "--json", "--seed", "3", "--support", "listening")
    status, out, _ = command(*arguments)
    reply = EmpathyReply.model_validate_json(out)
    assert (status, out.count("\n")) == (0, 1)
    assert reply.chain.intention is not None
    assert reply.chain.intention.declared


def test_region_and_mode_reach_the_reply(command: Command) -> None:
    out = command("ask", IMMINENT, "--model", "fake", "--region", "CN", "--json").out
    assert "12356" in EmpathyReply.model_validate_json(out).answer
    single = command("ask", POST, "--model", "fake", "--mode", "single_pass", "--json").out
    assert EmpathyReply.model_validate_json(single).warnings == ()


def test_jsonl_is_answered_line_by_line_and_a_bad_line_stops_nothing(
    command: Command, tmp_path: Path
) -> None:
    lines = [
        json.dumps({"id": 1, "text": POST}, ensure_ascii=False),
        "{no json",
        json.dumps({"id": 3, "words": POST}, ensure_ascii=False),
        "",
        json.dumps({"id": 4, "text": "  "}),
        json.dumps({"id": "五", "text": ENGLISH, "extra": 0}, ensure_ascii=False),
    ]
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    status, out, _ = command("ask", "--jsonl", str(path), "--model", "fake")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [row["id"] for row in rows] == [1, None, 3, 4, "五"]
    assert ["error" in row for row in rows] == [False, True, True, True, False]
    assert POST not in "".join(row.get("error", "") for row in rows)
    assert rows[0]["answer"]
    assert rows[4]["answer"].startswith("Thank you")
    piped = command("ask", "--jsonl", "-", "--model", "fake", stdin=lines[0].encode())
    assert json.loads(piped.out)["id"] == 1


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "support": ((POST, "--support", "hugs"), "empathy_support"),
    "mode": ((POST, "--mode", "fast"), "empathy_mode"),
    "region": ((POST, "--region", "CM"), "did you mean 'CN'"),
    "seed": ((POST, "--seed", "-1"), "sampling.seed"),
    "empty": ((" ",), "no text to answer"),
    "two posts": ((POST, "--file", "x.txt"), "--file"),
    "post and jsonl": ((POST, "--jsonl", "x.jsonl"), "not both"),
    "no file": (("--file", "nowhere.txt"), "cannot be read"),
    "no jsonl": (("--jsonl", "nowhere.jsonl"), "cannot be read"),
    "no model": ((POST, "--model", "nowhere.gguf"), "nowhere.gguf"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=list(WRONG))
def test_a_mistake_is_one_line_without_the_persons_words(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    given = arguments if "--model" in arguments else (*arguments, "--model", "fake")
    status, out, err = command("ask", *given)
    assert (status, out) == (2, "")
    assert err.startswith("empathy-agent: ")
    assert err.count("\n") == 1
    assert message in err
    assert POST not in err


def test_a_file_that_is_not_utf8_is_a_mistake(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "post.txt"
    path.write_bytes(POST.encode("gb18030"))
    status, _, err = command("ask", "--file", str(path), "--model", "fake")
    assert status == 2
    assert "not UTF-8" in err


def test_a_failing_model_exits_with_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: str) -> FakeBackend:
        raise BackendUnavailable("it is not here")

    monkeypatch.setattr("empathy_graph.agent.open_backend", fail)
    assert command("ask", POST) == (1, "", "empathy-agent: it is not here\n")


def test_doctor_shows_packages_and_what_the_model_can(command: Command) -> None:
    status, out, _ = command("doctor", "--model", "fake")
    assert status == 0
    assert "langgraph" in out
    assert "prefix_cache" in out
    assert command("doctor", "--model", "nowhere.gguf").status == 1


def test_graph_prints_mermaid(command: Command) -> None:
    out = command("graph").out
    assert out.count("-->") + out.count("-.->") >= 8
    for node in ("gate", "emotion", "cause", "intention", "respond", "fixed_reply"):
        assert node in out
