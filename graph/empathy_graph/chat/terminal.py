"""Read messages from a terminal with prompt_toolkit.

Enter sends, Alt+Enter and Ctrl-J break the line, and a bracketed paste is one message whatever it holds. What was
typed is kept for the arrow keys in memory only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from empathy_graph.chat.session import PROMPT

if TYPE_CHECKING:
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output


class Terminal:
    """A prompt, as a `lines.Source`.

    Args:
        on_send: Called when a message is sent, while the terminal is still raw and Ctrl-C a key.
        on_lost: Called when Ctrl-C is pressed twice at an empty prompt; may print.
        input: Where keys come from; None is the terminal.
        output: Where the prompt goes; None is the terminal.
    """

    def __init__(
        self,
        on_send: Callable[[], None],
        on_lost: Callable[[], None],
        *,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._on_send, self._on_lost = on_send, on_lost
        self._input, self._output = input, output
        self._presses = 0
        """Ctrl-C at an empty prompt, one after the other."""
        self.forget()

    def forget(self) -> None:
        """Drop the inputs so far and what was cut from them."""
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=" " * len(PROMPT),
            history=InMemoryHistory(),
            key_bindings=self._keys(),
            enable_suspend=True,
            input=self._input,
            output=self._output,
        )

    def read(self) -> str | None:
        """Return the next message, None for Ctrl-D at an empty prompt."""
        self._presses = 0
        try:
            # Its own SIGINT handling would leave Python's default behind, and with it a `KeyboardInterrupt`.
            return self._session.prompt(handle_sigint=False)
        except EOFError:
            return None

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def send(event: KeyPressEvent) -> None:
            self._on_send()
            event.current_buffer.validate_and_handle()

        @keys.add("escape", "enter")
        @keys.add("c-j")
        def newline(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        def clear(event: KeyPressEvent) -> None:
            is_empty = not event.current_buffer.text
            event.current_buffer.reset()
            self._presses = self._presses + 1 if is_empty else 0
            if self._presses == 2:
                self._presses = 0
                run_in_terminal(self._on_lost)

        return keys
