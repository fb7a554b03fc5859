"""What the system tells of a process: resident memory, threads, open files. Linux only; None elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int | None:
    """Return the resident memory of a process, this one by default."""
    value = _status(pid, "VmRSS")
    return None if value is None else value * 1024


def thread_count() -> int | None:
    """Return the threads of this process, those of libraries included."""
    return _status(None, "Threads")


def open_files() -> int | None:
    """Return the open file descriptors of this process."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed (nearest rank).

    Args:
        values: At least one, in any order.
        share: In (0, 1]; 0.5 is the median, 0.95 what one in twenty exceeds.
    """
    ranked = sorted(values)
    rank = -(-len(ranked) * round(share * 10_000) // 10_000)  # the ceiling, without rounding errors
    return ranked[max(rank, 1) - 1]


def _status(pid: int | None, key: str) -> int | None:
    try:
        lines = Path(f"/proc/{pid or 'self'}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)
