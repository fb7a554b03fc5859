"""Put a chat together and run it: the model, the view, Ctrl-C, the place messages come from."""

from __future__ import annotations

import sys
from pathlib import Path

from empathy_agent.config import Settings
from empathy_graph.agent import EmpathyAgent
from empathy_graph.builder import ModelLike
from empathy_graph.chat.commands import handle
from empathy_graph.chat.interrupts import Interrupts
from empathy_graph.chat.lines import Lines, Source
from empathy_graph.chat.session import ChatSession, default_name
from empathy_graph.chat.texts import language_of
from empathy_graph.chat.view import ChatView


def run_chat(
    model: ModelLike,
    settings: Settings,
    history: Path,
    thread: str | None = None,
    *,
    is_stored: bool = False,
) -> None:
    """Talk until the person leaves.

    Args:
        model: What `EmpathyAgent` takes.
        settings: Of every turn.
        history: The file for `/save` and `thread`.
        thread: Store under this name, or go on with it.
        is_stored: Store even where no name is given.

    Raises:
        ConfigError: A setting, the model's name or the history is unusable.
        BackendUnavailable: The model does not load.
    """
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    view = ChatView(language_of() if settings.lang == "auto" else settings.lang)
    if is_terminal:
        view.wait(view.texts.loading)
    try:
        agent = EmpathyAgent(model, settings=settings)
    finally:
        view.settle()
    with agent, Interrupts(is_caught=is_terminal) as stop:
        if settings.lang == "auto":
            view.lang = language_of(languages=agent.backend.capabilities.languages)
        session = ChatSession(agent, view, interrupts=stop, history=history)
        source = _source(session, stop) if is_terminal else Lines(sys.stdin.buffer)
        session.on_forget = source.forget
        try:
            session.start(default_name() if is_stored and thread is None else thread)
            converse(session, source)
        finally:
            session.close()


def _source(session: ChatSession, stop: Interrupts) -> Source:
    from empathy_graph.chat.terminal import Terminal

    return Terminal(stop.clear, lambda: session.view.hint(session.view.texts.how_to_leave))


def converse(session: ChatSession, source: Source) -> None:
    """Take messages and commands until the source ends or one of them leaves."""
    while (line := source.read()) is not None:
        if not handle(session, line):
            return
