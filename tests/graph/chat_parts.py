"""A chat put together for tests: a scripted model, a view that prints into a string."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.config import Settings
from empathy_graph.agent import EmpathyAgent
from empathy_graph.chat.commands import handle
from empathy_graph.chat.interrupts import Interrupts
from empathy_graph.chat.session import ChatSession
from empathy_graph.chat.view import ChatView


class Chat:
    """A session and what it printed."""

    def __init__(
        self,
        session: ChatSession,
        backend: FakeBackend,
        interrupts: Interrupts,
        out: io.StringIO,
    ) -> None:
        self.session, self.backend, self.interrupts = session, backend, interrupts
        self._out = out
        self.goes_on = True

    def type(self, *lines: str) -> str:
        """Take lines of input and return what they printed."""
        start = len(self._out.getvalue())
        for line in lines:
            self.interrupts.clear()  # as the prompt does when a message is sent
            self.goes_on = handle(self.session, line)
        return self._out.getvalue()[start:]

    @property
    def printed(self) -> str:
        return self._out.getvalue()

    @property
    def texts(self) -> list[str]:
        """The conversation as the model sees it next."""
        return [str(message.text) for message in self.session.conversation.messages]


@contextmanager
def chatting(
    tmp_path: Path,
    script: Any = None,
    *,
    thread: str | None = None,
    backend: FakeBackend | None = None,
    clock: Any = lambda: 0.0,
    is_terminal: bool = False,
    **settings: Any,
) -> Iterator[Chat]:
    """Open a chat in this process; SIGINT stops a turn."""
    out = io.StringIO()
    console = Console(
        file=out, width=80, soft_wrap=True, force_terminal=is_terminal, color_system=None
    )
    backend = backend or FakeBackend(script)
    with (
        backend,
        EmpathyAgent(backend, settings=Settings(**settings)) as agent,
        Interrupts() as interrupts,
    ):
        session = ChatSession(
            agent,
            ChatView("zh", console),
            interrupts=interrupts,
            history=tmp_path / "data" / "chats.sqlite",
            clock=clock,
        )
        try:
            session.start(thread)
            yield Chat(session, backend, interrupts, out)
        finally:
            session.close()
