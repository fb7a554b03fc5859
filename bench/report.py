"""The bench's output: a table for people, JSON for later comparison."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.cases import Comparison, Side


@dataclass(frozen=True)
class ModelReport:
    """What was measured on one model."""

    model: str
    threads: int
    comparisons: list[Comparison]
    interleaved_computed: int
    interleaved_once: int


def print_comparison(one: Comparison) -> None:
    """Print one comparison."""
    verdict = "met" if one.is_met else "MISSED"
    print(f"  {one.title}: {one.figure:.3f} (goal {one.goal}: {verdict})")
    for side in (one.ours, one.other):
        print(f"    {side.label:<18}{_seconds(side)}, evaluated {_counts(side)} tokens", flush=True)


def print_interleaved(computed: int, once: int) -> None:
    """Print what two interleaved chains computed."""
    verdict = "met" if computed <= once else "MISSED"
    print(
        f"  two interleaved chains: {computed} tokens computed, {once} in both texts together "
        f"(goal: no token twice: {verdict})"
    )


def write_json(path: Path, reports: list[ModelReport]) -> None:
    """Write all reports, with the machine they were measured on."""
    data = {
        "machine": platform.machine(),
        "system": platform.system(),
        "models": [asdict(report) for report in reports],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")


def _seconds(side: Side) -> str:
    low, high = min(side.seconds), max(side.seconds)
    cpu = median(side.cpu_seconds)
    return f"median {side.median:.3f} s (range {low:.3f} to {high:.3f}; processor {cpu:.3f} s)"


def _counts(side: Side) -> str:
    return "/".join(str(count) for count in sorted(set(side.evaluated_tokens)))
