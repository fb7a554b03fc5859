"""`empathy-agent ask`: answer one post, or a JSONL of them line by line.

One post streams to the terminal, the layers first if the chain is shown. `--json` prints one `EmpathyReply` a line and
nothing else on stdout. A JSONL line that cannot be answered gives a line with its id and an error in words; the others
go on. Nothing is written to disk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from empathy_agent.errors import ConfigError, EmpathyAgentError

if TYPE_CHECKING:
    from rich.console import Console

    from empathy_agent.chain import EmpathyReply
    from empathy_graph.agent import EmpathyAgent

_TITLES = {"emotion": "L1 情绪 emotion", "cause": "L2 起因 cause", "intention": "L3 意图 intention"}
_TITLES["strategy"] = "L4 策略 strategy"


def ask(
    text: Annotated[str | None, typer.Argument(help="The post; '-' reads stdin.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the post from a UTF-8 text file.")] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(help='Answer every {"id", "text"} line of a file; \'-\' is stdin.'),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one EmpathyReply a line.")] = False,
    show_chain: Annotated[
        bool, typer.Option("--show-chain/--hide-chain", help="Show the four layers.")
    ] = False,
    support: Annotated[
        str | None,
        typer.Option(help="listening, validation, understanding, advice or information."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="'tiny', a .gguf or folder, hf:org/repo/Q4_K_M, http://host/v1#model."),
    ] = "tiny",
    mode: Annotated[str, typer.Option(help="graph or single_pass.")] = "graph",
    region: Annotated[str | None, typer.Option(help="Crisis resources: CN, US, UK, EU.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
) -> None:
    """Answer a post: an argument, a file, stdin, or JSONL line by line."""
    from empathy_agent.config import Settings, merge_settings
    from empathy_graph.agent import EmpathyAgent

    given = {
        "mode": mode,
        "show_chain": show_chain and not json_,
        "support": support,
        "region": region,
    }
    chosen: dict[str, object] = {f"empathy_{key}": value for key, value in given.items()}
    if seed is not None:
        chosen["empathy_sampling"] = {"seed": seed}
    settings = merge_settings(Settings(), chosen, None)
    if jsonl is not None and (text is not None or file is not None):
        raise ConfigError("give either --jsonl or one post, not both")
    lines = None if jsonl is None else _count_lines(jsonl)
    post = None if jsonl is not None else _read_post(text, file)
    with EmpathyAgent(model, settings=settings) as agent:
        if jsonl is not None and lines is not None:
            _answer_lines(agent, lines)
        elif json_:
            _print_json(agent.invoke(post or ""))
        else:
            _stream(agent, post or "")


def _read_post(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None) and not (text is None and not sys.stdin.isatty()):
        raise ConfigError("give the post as an argument, with --file, or on stdin ('-')")
    if file is not None:
        return _decode(_read_bytes(file), file.name)
    if text is None or text == "-":
        return _decode(sys.stdin.buffer.read(), "stdin")
    return text


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror
    raise ConfigError(f"{str(path)!r} cannot be read: {reason}")


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise ConfigError(f"{name!r} is not UTF-8; convert it first")


def _stream(agent: EmpathyAgent, post: str) -> None:
    from rich.console import Console

    from empathy_agent.chain import EmpathyReply
    from empathy_graph.events import AnswerDelta, LayerFinished, RiskAssessed

    console = Console(soft_wrap=True, highlight=False)
    notice = agent.notice("zh" if agent.is_chinese(post) else "en")
    answering = False
    for item in agent.stream(post):
        if isinstance(item, RiskAssessed):  # the first event: the input is good
            console.print(notice, style="dim", markup=False)
        elif isinstance(item, LayerFinished):
            console.print(f"\n{_TITLES[item.layer]}", style="bold")
            console.print(item.reading.text, markup=False)
        elif isinstance(item, AnswerDelta):
            if not answering:
                console.print("\n回复 answer", style="bold green")
                answering = True
            console.print(item.text, end="", markup=False)
        elif isinstance(item, EmpathyReply):
            _footer(console, item)


def _footer(console: Console, reply: EmpathyReply) -> None:
    usage = reply.usage
    console.print(
        f"\n\nmodel {reply.model}; risk {reply.risk}; {usage.completion_tokens} tokens written, "
        f"{usage.evaluated_tokens} computed, {usage.reused_tokens} reused",
        style="dim",
        markup=False,
    )
    for warning in reply.warnings:
        console.print(f"note: {warning}", style="yellow", markup=False)


def _count_lines(path: Path) -> list[bytes]:
    data = sys.stdin.buffer.read() if str(path) == "-" else _read_bytes(path)
    return [line for line in data.splitlines() if line.strip()]


def _answer_lines(agent: EmpathyAgent, lines: list[bytes]) -> None:
    from rich.console import Console
    from rich.progress import track

    progress = Console(stderr=True)
    for row in _rows(track(lines, "answering", console=progress, disable=not progress.is_terminal)):
        result: dict[str, Any] = {"id": row.get("id")}
        try:
            if row.get("error"):
                raise ConfigError(str(row["error"]))
            result |= agent.invoke(row["text"]).model_dump(mode="json")
        except EmpathyAgentError as error:
            result["error"] = str(error)
        print(json.dumps(result, ensure_ascii=False), flush=True)


def _rows(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            yield row
        else:
            key = row.get("id") if isinstance(row, dict) else None
            yield {"id": key, "error": f'line {number} is no JSON object with a string "text"'}


def _print_json(reply: EmpathyReply) -> None:
    print(reply.model_dump_json())
