"""What the chat shows: through rich, as it comes, everything that others wrote made printable first.

Text is never wrapped here: the terminal breaks lines itself, which is right for wide characters and for later resizes.
Where stdout is no terminal there is no colour, no waiting sign and no clearing.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from empathy_agent.chain import EmpathyReply
from empathy_agent.layer_text import LayerReading
from empathy_agent.vocabulary import LAYERS, Language, LayerName
from empathy_graph.chat.sanitise import printable
from empathy_graph.chat.texts import TEXTS, Texts

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
"""Cursor home, clear the screen, clear the scrollback (xterm's extension of ED)."""
_ERASE_LINE = "\r\x1b[K"


class ChatView:
    """Prints a chat.

    Args:
        lang: The language of the interface.
        console: Where to; None is stdout.
    """

    def __init__(self, lang: Language, console: Console | None = None) -> None:
        self.lang = lang
        self.console = console or Console(highlight=False, emoji=False, soft_wrap=True)
        self._is_waiting = False
        self._is_answering = False
        self._is_titled = False

    @property
    def texts(self) -> Texts:
        """The words of the interface."""
        return TEXTS[self.lang]

    def print(self, text: str, style: str | None = None, end: str = "\n") -> None:
        """Print a text, made printable."""
        self.settle()
        self._write(printable(text), style, end)

    def _write(self, text: str, style: str | None = None, end: str = "\n") -> None:
        self.console.print(text, style=style, end=end, markup=False, highlight=False, emoji=False)

    def hint(self, text: str) -> None:
        """Print a word of the interface's own."""
        self.print(text, style="dim")

    def note(self, text: str) -> None:
        """Print a warning."""
        self.print(self.texts.note.format(text=text), style="yellow")

    def wait(self, sign: str = "…") -> None:
        """Show that something is at work, until something else is printed."""
        self._is_answering = self._is_titled = False
        if self.console.is_terminal:
            self._is_waiting = True
            self._write(sign, "dim", end="")

    def settle(self) -> None:
        """Take the waiting sign away."""
        if self._is_waiting:
            self._is_waiting = False
            self.console.file.write(_ERASE_LINE)
            self.console.file.flush()

    def layer(self, name: LayerName, reading: LayerReading) -> None:
        """Print one layer of the chain."""
        self._is_titled = True
        self.print(self.texts.layers[name], style="bold")
        self.print(reading.text)

    def delta(self, text: str) -> None:
        """Print the next piece of an answer."""
        if not self._is_answering and self._is_titled:
            self.print(self.texts.answer, style="bold green")
        self._is_answering = True
        self.print(text, end="")

    def end(self, notes: tuple[str, ...] = ()) -> None:
        """End the answer."""
        self.settle()
        if self._is_answering:
            self._write("")
        for text in notes:
            self.note(text)
        self._write("")

    def stop(self, is_kept: bool) -> None:
        """Mark where an answer was stopped."""
        if self._is_answering:
            self._write("")
        self.hint(self.texts.stopped + (self.texts.stop_kept if is_kept else ""))
        self._write("")

    def chain(self, reply: EmpathyReply | None) -> None:
        """Print all layers of a reply."""
        chain = {} if reply is None else {name: getattr(reply.chain, name) for name in LAYERS}
        shown: Mapping[LayerName, LayerReading] = {k: v for k, v in chain.items() if v is not None}
        if not shown:
            self.hint(self.texts.no_chain)
        for name, reading in shown.items():
            self.layer(name, reading)

    def clear(self) -> None:
        """Clear the screen and, where the terminal obeys, what scrolled out of it."""
        if self.console.is_terminal:
            self.console.file.write(_CLEAR)
            self.console.file.flush()
