"""Ctrl-C without a `KeyboardInterrupt`: a signal handler that cancels the turn under way and raises nothing.

An exception out of a signal handler can strike between any two instructions and so leave anything half done. Here the
handler only notes that Ctrl-C was pressed and asks the event loop to cancel the running task, which closes the
agent's stream and stops the model within one token. One loop serves all turns, since a backend may hold on to it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Self

from empathy_agent.errors import BackendCancelled


class Interrupts:
    """Owns the event loop of the turns, and SIGINT, while it is entered; main thread only.

    Args:
        is_caught: Whether Ctrl-C stops a turn; otherwise the signal is left as it is.
    """

    def __init__(self, *, is_caught: bool = True) -> None:
        self._is_caught = is_caught
        self._pressed = False
        self._cancel: Callable[[], object] | None = None
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        if self._is_caught:
            self._earlier = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.close()
        if self._is_caught:
            signal.signal(signal.SIGINT, self._earlier)

    def clear(self) -> None:
        """Forget what was pressed so far; called when a message is sent, still in raw mode."""
        self._pressed = False

    def run(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` to its end, or until Ctrl-C cancels it; return whether it came to its end."""
        return self._runner.run(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, None]) -> bool:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        # Set before the look at `_pressed`, so that a signal in between is seen twice rather than never.
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            if self._pressed:
                task.cancel()
            await asyncio.wait({task})
        finally:
            self._cancel = None
        if task.cancelled() or isinstance(task.exception(), BackendCancelled):
            return False
        task.result()
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first, self._pressed = not self._pressed, True
        if is_first and self._cancel is not None:  # a second cancel would break into the clean-up
            self._cancel()
