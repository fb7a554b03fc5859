"""Texts on record: compared with a file under `snapshots/`, rewritten with `UPDATE_SNAPSHOTS=1`."""

from __future__ import annotations

import os
from pathlib import Path

SNAPSHOTS = Path(__file__).parent / "snapshots"


def assert_recorded(name: str, text: str) -> None:
    """Check that `text` is what `snapshots/name` holds; `UPDATE_SNAPSHOTS=1` writes it there."""
    path = SNAPSHOTS / name
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    recorded = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert text == recorded, f"{name} changed; if that is meant, run with UPDATE_SNAPSHOTS=1"
