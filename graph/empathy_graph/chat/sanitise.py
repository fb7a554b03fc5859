"""Make text safe to print: nothing that a model, a stored thread or a paste holds may steer the terminal."""

from __future__ import annotations

import re

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and the signs that turn the direction of writing."""


def printable(text: str) -> str:
    """Return `text` with plain newlines and without characters that a terminal would obey."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _STEERING.sub("", text).encode("utf-8", "replace").decode("utf-8")
