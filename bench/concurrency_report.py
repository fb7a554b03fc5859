"""The concurrency bench's output: a Markdown table for `docs/experiments.md`, the goals, JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.chats import Times
from bench.process import percentile

GOALS = (("one chat at a time", 2.0), ("llama-server", 1.0))
"""What our tokens a second are divided by, and what that should be at least."""
GOAL_CHATS = 8
_HEAD = (
    "| chats | system | tokens/s (range) | first token: median, p95 | first of the answer: median, p95 "
    "| gap: p95 | prompt computed | memory |\n|--:|---|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True)
class Run:
    """What one run of one system brought."""

    system: str
    clients: int
    seconds: float
    tokens: int
    """Generated, all chats together."""
    chats: list[Times]
    resident: int | None
    """Memory of the system's process after the run, in bytes."""

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Memory:
    """What the memory figures are made of."""

    before: Mapping[str, int | None]
    """Of each system, before the first chat."""
    cache_bytes_per_token: int
    chat_tokens: int
    shared_tokens: int
    """Those of the system prompt, which chats share in a unified cache."""


@dataclass(frozen=True)
class ModelResult:
    """All runs on one model."""

    model: str
    threads: int
    notes: list[str]
    runs: list[Run]
    memory: Memory

    def of(self, system: str, clients: int) -> list[Run]:
        """Return the runs of a system with so many clients."""
        return [one for one in self.runs if one.system == system and one.clients == clients]

    def rate(self, system: str, clients: int) -> float | None:
        """Return the median of the tokens a second, if there was a run."""
        rates = [one.tokens_per_s for one in self.of(system, clients)]
        return median(rates) if rates else None


def print_model(result: ModelResult) -> None:
    """Print the table of one model, the goals and the memory."""
    print(f"\n**{result.model}**, {result.threads} threads\n\n{_HEAD}")
    for clients, system in dict.fromkeys((one.clients, one.system) for one in result.runs):
        print(_row(result.of(system, clients)))
    print()
    for line in (*goal_lines(result), *_memory_lines(result), *result.notes):
        print(f"- {line}")


def goal_lines(result: ModelResult) -> list[str]:
    """Say for each goal what was reached."""
    lines, ours = [], result.rate("ours", GOAL_CHATS)
    for other, least in GOALS:
        rate = result.rate(other, GOAL_CHATS)
        if ours is None or rate is None:
            lines.append(f"ours ÷ {other} at {GOAL_CHATS} chats: not measured")
            continue
        verdict = "met" if ours / rate >= least else "**missed**"
        lines.append(
            f"ours ÷ {other} at {GOAL_CHATS} chats: {ours / rate:.2f} [≥ {least:g}]: {verdict}"
        )
    return lines


def _row(runs: Sequence[Run]) -> str:
    rates = [one.tokens_per_s for one in runs]
    chats = [one for run in runs for one in run.chats]
    computed = sum(one.computed_tokens for one in chats)
    share = computed / sum(one.prompt_tokens for one in chats)
    spread = f" ({min(rates):.0f}–{max(rates):.0f})" if len(rates) > 1 else ""
    cells = [
        str(runs[0].clients),
        runs[0].system,
        f"{median(rates):.1f}{spread}" if median(rates) < 100 else f"{median(rates):.0f}{spread}",
        _two([one.first_s for one in chats]),
        _two([one.answer_first_s for one in chats]),
        f"{1000 * percentile([gap for one in chats for gap in one.gaps_s], 0.95):.0f} ms",
        f"{computed / len(chats):.0f} tokens a chat ({share:.0%})",
        _mebibytes(runs[-1].resident),
    ]
    return f"| {' | '.join(cells)} |"


def _two(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.5):.2f}, {percentile(values, 0.95):.2f} s"


def _mebibytes(value: float | None) -> str:
    return "–" if value is None else f"{value / 2**20:.0f} MiB"


def _memory_lines(result: ModelResult) -> list[str]:
    memory = result.memory
    own = memory.chat_tokens - memory.shared_tokens
    lines = [
        f"cache: {memory.cache_bytes_per_token:,} bytes a token; a chat holds {memory.chat_tokens} tokens, "
        f"{own} of them its own: {_mebibytes(own * memory.cache_bytes_per_token)}"
    ]
    counts = sorted({one.clients for one in result.runs})
    for system in dict.fromkeys(one.system for one in result.runs):
        few, many = result.of(system, counts[0]), result.of(system, counts[-1])
        if len(counts) < 2 or not few or not many:
            continue
        first, last = few[0].resident, many[-1].resident
        if first is not None and last is not None:
            each = (last - first) / (counts[-1] - counts[0])
            lines.append(
                f"{system}: {_mebibytes(memory.before[system])} when opened, {_mebibytes(each)} "
                f"for each chat from {counts[0]} to {counts[-1]}"
            )
    return lines


def write_results(path: Path, results: Sequence[ModelResult]) -> None:
    """Write all runs, with the machine they were measured on."""
    data = {
        "machine": platform.machine(),
        "system": platform.system(),
        "models": [asdict(one) for one in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")
