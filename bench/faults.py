"""What a person sees when the server fails: `python -m bench.faults [--markdown FILE]`.

Each row runs the real agent over `CompletionsBackend` against the scripted server of
`empathy_agent.testing.fault_server`, in Chinese and in English, and reads off what happened: how
often the server was asked, what the reply is, which layers are missing, and what a caller with
`on_fault="raise"` gets. Nothing in the table is written by hand but the names of the columns.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Settings
from empathy_agent.errors import EmpathyAgentError
from empathy_agent.testing.fault_server import FAULTS, Fault, FaultServer
from empathy_agent.vocabulary import Language
from empathy_graph.agent import EmpathyAgent

POSTS: dict[Language, str] = {
    "zh": "最近他总是很晚才回消息，我一个人在宿舍胡思乱想，总觉得他不爱我了。",
    "en": "I keep lying awake going over what my sister said at dinner.",
}
_COLUMNS = (
    "fault",
    "language",
    "what the backend does",
    "what the person sees",
    "what was lost",
    'with `on_fault="raise"`',
)
_LAYERS = ("emotion", "cause", "intention", "strategy")
_DEADLINE_S = 2.0
_FIRST_WORDS = 18


@dataclass(frozen=True)
class Turn:
    """One turn against a failing server."""

    reply: EmpathyReply | None
    error: str
    prompts: tuple[str, ...]
    """What the server was asked to continue, in order."""


INTRODUCTION = """# When the server fails

Made by `python -m bench faults --markdown docs/faults.md`: the whole agent over `CompletionsBackend` against a
scripted server (`empathy_agent.testing.fault_server`). *Once* is the first call of a turn, *every time* all of
them. Nothing that was shown is ever taken back or said twice, and what the person wrote is never lost: the turn
ends with a reply, or the host gets the error named. What passes costs another attempt. What asking again cannot
mend — a wrong key, a wrong address, a server silent for the whole read timeout — is told at once, and costs the
part that was asked for.
"""


def main() -> None:
    """Run all faults, print the table and write it where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    table = "\n".join(table_lines())
    print(table)
    if options.markdown:
        options.markdown.write_text(f"{INTRODUCTION}\n{table}\n", encoding="utf-8")


def table_lines() -> list[str]:
    """Return the table, a line of Markdown each."""
    lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    for language, post in POSTS.items():
        healthy = take_turn([], post, on_fault="safe_reply")
        for fault in FAULTS[1:]:
            for lasting in (False, True):
                lines.append(describe(fault, language, post, healthy.reply, lasting=lasting))
        lines.append(describe(None, language, post, healthy.reply, lasting=True))
    return lines


def describe(
    fault: Fault | None,
    language: Language,
    post: str,
    healthy: EmpathyReply | None,
    *,
    lasting: bool,
) -> str:
    """Return the row of one fault, that strikes the first layer or every request."""
    faults = [] if fault is None else [fault]
    shown = take_turn(
        faults, post, on_fault="safe_reply", lasting=lasting, is_there=fault is not None
    )
    raised = take_turn(faults, post, on_fault="raise", lasting=lasting, is_there=fault is not None)
    name = "connection refused" if fault is None else fault
    return _row(
        (
            f"{name}, {'every time' if lasting else 'once'}",
            language,
            _done(shown),
            _seen(shown),
            _lost(shown, healthy),
            f"`{raised.error}`" if raised.error else "the same",
        )
    )


def take_turn(
    faults: Sequence[Fault],
    post: str,
    *,
    on_fault: str,
    lasting: bool = False,
    is_there: bool = True,
) -> Turn:
    """Run one turn and record how it ended."""
    settings = Settings.model_validate({"on_fault": on_fault, "deadline_s": _DEADLINE_S})
    with FaultServer(faults, forever=lasting) as server:
        url = server.url if is_there else "http://127.0.0.1:9/v1"
        with CompletionsBackend(url, back_off_s=0.01, read_timeout_s=0.2) as backend:
            agent = EmpathyAgent(backend, settings=settings)
            reply, error = None, ""
            try:
                reply = agent.invoke(post)
            except EmpathyAgentError as caught:
                error = type(caught).__name__
        return Turn(reply, error, tuple(body["prompt"] for body in server.bodies))


def _done(turn: Turn) -> str:
    if not turn.prompts:
        return "finds no server and says so"
    pairs = list(pairwise(turn.prompts))
    again = sum(later == before for before, later in pairs)
    # A prompt that grew by a text without a tag asks for the same part, behind what came of it.
    grown = [later.removeprefix(before) for before, later in pairs if later.startswith(before)]
    on = sum(bool(added) and "<" not in added for added in grown)
    ways = [
        *([f"asks again ({again}x)"] if again else []),
        *([f"asks for the rest ({on}x)"] if on else []),
    ]
    if ways:
        return ", ".join(ways)
    if turn.reply is None or turn.reply.warnings:
        return "tells it at once"
    return "waits"


def _seen(turn: Turn) -> str:
    if turn.reply is None:
        return f"`{turn.error}` reaches the host"
    first = " ".join(turn.reply.answer.split())[:_FIRST_WORDS]
    return f"`{turn.reply.finish}`: {first}…"


def _lost(turn: Turn, healthy: EmpathyReply | None) -> str:
    if turn.reply is None or healthy is None:
        return "the reply"
    missing = [name for name in _LAYERS if getattr(turn.reply.chain, name) is None]
    parts = [f"layer {', '.join(missing)}"] if missing else []
    if turn.reply.finish == "safe_reply":
        began = turn.reply.answer[:8] == healthy.answer[:8]
        parts.append(f"the {'rest of the ' if began else ''}answer; a fixed reply stands in")
    elif turn.reply.answer != healthy.answer:
        parts.append("the answer reads otherwise")
    return "; ".join(parts) or "nothing"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
