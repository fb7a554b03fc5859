"""From a chat model's stream to clean text: no thinking, no wrapper, no stop string, no more than the budget.

Chat models wrap what they are asked to write: in the tag they were shown, in a code fence, after a block of thinking.
`Cleaner` takes these away as the text comes; what it releases, put together, does not depend on how the stream is cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from empathy_agent.backends.chat.tokens import Meter
from empathy_agent.splitter import StopScanner

_THINKING: Final = re.compile(r"<(think|thinking|thought)>.*?</\1>\s*", re.IGNORECASE | re.DOTALL)
_THINKING_OPEN: Final = ("<think>", "<thinking>", "<thought>")
_FENCE: Final = re.compile(r"```[^\n`]*\n\s*")
_FENCE_MARK: Final = "```"
_MOST_HELD: Final = 16
"""Characters after which a beginning without a line end is no fence's first line."""


def without_thinking(text: str) -> str:
    """Return `text` without a block of thinking in front."""
    return _THINKING.sub("", text.lstrip(), count=1) if _is_thinking(text) else text


def _is_thinking(text: str) -> bool:
    return text.lstrip().lower().startswith(_THINKING_OPEN)


class Cleaner:
    """Cleans one streamed text.

    Args:
        stops: Stop strings; the text ends before the first of them.
        wrapper: The opening tag that the text may be wrapped in.
        budget: Estimated tokens after which the text is cut.
    """

    def __init__(self, stops: Sequence[str], wrapper: str, budget: int) -> None:
        self._stops = tuple(stops)
        self._wrapper = wrapper
        self._meter = Meter(budget)
        self._front: str | None = ""
        self._scanner = StopScanner(self._stops)
        self.text = ""
        """What was released so far."""
        self.finish: Literal["stop", "length"] | None = None
        """Why the text has ended, or None while it goes on."""

    def feed(self, text: str) -> str:
        """Return what may be released now."""
        if self._front is not None:
            self._front += text
            opened = self._opened(self._front)
            if opened is None:
                return ""
            self._front, text = None, opened
        return self._release(text)

    def close(self) -> str:
        """Return what is left when the model has ended."""
        last = ""
        if self._front is not None:
            rest = without_thinking(self._front)
            front, self._front = "" if _is_thinking(rest) else self._unwrapped(rest), None
            last = self._release(front)
        return last + self._bounded(self._scanner.flush())

    def _release(self, text: str) -> str:
        if self.finish is not None:
            return ""
        passed, has_stopped = self._scanner.feed(text)
        released = self._bounded(passed)
        if has_stopped and self.finish is None:
            self.finish = "stop"
        return released

    def _bounded(self, text: str) -> str:
        if self.finish is not None:
            return ""
        released = self._meter.take(text)
        if self._meter.is_empty:
            self.finish = "length"
        self.text += released
        return released

    def _opened(self, front: str) -> str | None:
        """Return the text after its wrappers, or None while more of it must be seen."""
        if _is_thinking(front):
            without = without_thinking(front)
            if _is_thinking(without):
                return None
            front = without
        front = front.lstrip()
        openings = (*_THINKING_OPEN, self._wrapper, _FENCE_MARK)
        if not front or any(one.startswith(front.lower()) for one in openings):
            return None
        if front.startswith(_FENCE_MARK):
            if "\n" not in front and len(front) <= _MOST_HELD:
                return None
            inner = _FENCE.sub("", front, count=1)
            if not inner or self._wrapper.startswith(inner.lower()):
                return None
        return self._unwrapped(front)

    def _unwrapped(self, front: str) -> str:
        """Take a fence and the wrapper away; a fence that was opened also ends the text."""
        front = front.lstrip()
        if _FENCE.match(front):
            front = _FENCE.sub("", front, count=1)
            self._scanner = StopScanner((*self._stops, _FENCE_MARK))
        if front.lower().startswith(self._wrapper):
            front = front[len(self._wrapper) :].lstrip()
        return front
