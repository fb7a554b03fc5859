"""From sampled tokens to deltas: whole characters, nothing of a stop string, and ids that add up.

Tokens and characters do not share their borders: a token may end inside a character, and a stop
string may begin inside a token. `Assembly` decodes pieces as UTF-8, lets `StopScanner` hold back
what may become a stop string, and gives ids out only up to a border that both share. Where the end
cuts a token in two, the half that stays is tokenised by itself, so that the ids of a completion
spell exactly its text.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Callable

from empathy_agent.backends.requests import Delta
from empathy_agent.splitter import StopScanner

Tokenize = Callable[[str], tuple[int, ...]]


class Assembly:
    """Collects one completion, token by token.

    Args:
        stops: The stop strings of the request.
        tokenize: Turns the rest of a token that was cut in two into ids.
    """

    def __init__(self, stops: tuple[str, ...], tokenize: Tokenize) -> None:
        self._scanner = StopScanner(stops) if stops else None
        self._tokenize = tokenize
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._group: list[int] = []  # tokens since the last border of tokens and characters
        self._open: deque[tuple[list[int], int]] = deque()  # groups not given out, with their ends
        self._decoded = 0  # characters
        self._released = 0  # characters
        self._covered = 0  # characters whose ids are given out
        self._texts: list[str] = []
        self._ids: list[int] = []

    @property
    def text(self) -> str:
        """The text given out so far."""
        return "".join(self._texts)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids given out so far."""
        return tuple(self._ids)

    def push(self, token: int, piece: bytes) -> tuple[Delta | None, bool]:
        """Take one token in; return what may go out now, and whether a stop string was met."""
        decoded = self._decoder.decode(piece)
        self._decoded += len(decoded)
        self._group.append(token)
        is_inside_character = bool(self._decoder.getstate()[0])
        if not is_inside_character:
            self._open.append((self._group, self._decoded))
            self._group = []
        if self._scanner is None:
            return self._release(decoded, is_last=False), False
        released, has_stopped = self._scanner.feed(decoded)
        return self._release(released, is_last=has_stopped), has_stopped

    def finish(self, *, keep_held: bool) -> Delta | None:
        """Return the rest when generation ends without a stop string in the text.

        Args:
            keep_held: Give out what was held back as the possible beginning of a stop string. False
                at the token budget, where it is almost surely a closing tag that was cut off.
        """
        held = self._scanner.flush() if self._scanner is not None else ""
        return self._release(held if keep_held else "", is_last=True)

    def _release(self, text: str, *, is_last: bool) -> Delta | None:
        self._released += len(text)
        ids: list[int] = []
        while self._open and self._open[0][1] <= self._released:
            group, self._covered = self._open.popleft()
            ids += group
        if text:
            self._texts.append(text)
        if is_last and self._covered < self._released:
            rest = self.text[self._covered - self._released :]
            ids.extend(self._tokenize(rest))
            self._covered = self._released
        self._ids.extend(ids)
        return Delta(text, tuple(ids)) if text or ids else None
