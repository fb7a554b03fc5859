"""Where messages come from, and the plain form of it: one message a line, as a pipe brings them."""

from __future__ import annotations

from typing import IO, Protocol


class Source(Protocol):
    """Where messages come from."""

    def read(self) -> str | None:
        """Return the next message, None at the end."""

    def forget(self) -> None:
        """Drop what is kept of earlier messages."""


class Lines:
    """One message a line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self) -> str | None:
        """Return the next line, None at the end of the stream."""
        line = self._stream.readline()
        return line.decode("utf-8-sig", "replace") if line else None

    def forget(self) -> None:
        """Keep nothing, drop nothing."""
