"""One chat: asks the agent, keeps the conversation, stores it where that was asked for.

Each turn hands the whole conversation to `EmpathyAgent.astream`, which keeps nothing of it. What goes wrong in a turn
is told and the chat goes on: a mistake in the input is a hint, anything else a safe reply with resources where the
floor asks for them. A fault, like Ctrl-C, leaves the turn out of the conversation (see `conversation`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import AnyMessage

from empathy_agent.chain import EmpathyReply
from empathy_agent.config import detect_language
from empathy_agent.errors import ConfigError, EmpathyAgentError
from empathy_agent.safety import assess_history, safe_reply
from empathy_agent.vocabulary import Support
from empathy_graph.agent import EmpathyAgent
from empathy_graph.chat.conversation import Conversation, Turn
from empathy_graph.chat.interrupts import Interrupts
from empathy_graph.chat.store import ChatStore
from empathy_graph.chat.view import ChatView
from empathy_graph.events import AnswerDelta, EmpathyStreamItem, LayerFinished

PROMPT = "› "
"""What stands before a message of the person's."""
PAUSE_S = 2 * 60 * 60
"""Seconds between reminders to take a break, each with the notice that this is an AI."""


def default_name() -> str:
    """Return the name of a chat that was given none: the time."""
    return datetime.now().strftime("%Y-%m-%d %H.%M.%S")


def _posts(messages: Iterable[AnyMessage]) -> list[str]:
    return [str(message.text) for message in messages if message.type == "human"]


class ChatSession:
    """The state of one chat and what can be done with it.

    Args:
        agent: Answers the turns.
        view: Shows them.
        interrupts: Runs the turns; entered already.
        history: The file that `save` stores in.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        agent: EmpathyAgent,
        view: ChatView,
        *,
        interrupts: Interrupts,
        history: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent, self.view, self.history = agent, view, history
        self.support: Support | None = agent.settings.support
        self.show_chain = agent.settings.show_chain
        self.conversation = Conversation()
        self.thread: str | None = None
        """The name it is stored under; None while nothing is stored."""
        self.on_forget: Callable[[], None] | None = None
        """Called by `forget`: where messages come from, what was typed is kept too."""
        self._store: ChatStore | None = None
        self._interrupts = interrupts
        self._clock = clock
        self._reminded = clock()

    def start(self, thread: str | None = None) -> None:
        """Show the notice that this is an AI and how to find help, and go on with a stored thread if one is named.

        Raises:
            ConfigError: The history cannot be used.
        """
        messages = None if thread is None else self._open_store(thread)
        posts = _posts(messages or ())
        if posts and self.agent.settings.lang == "auto":
            self.view.lang = detect_language(posts[-1])
        self._greet()
        if messages:
            self._resume(messages)
        elif thread is not None:
            self._announce()

    def _greet(self) -> None:
        self.view.print(self.agent.notice(self.view.lang))
        self.view.hint(self.view.texts.start + "\n")

    def _resume(self, messages: list[AnyMessage]) -> None:
        self.conversation = Conversation(messages)
        for message in messages[-2:]:
            self.view.hint(f"{PROMPT if message.type == 'human' else ''}{message.text}\n")
        texts = self.view.texts
        self.view.hint(texts.resumed.format(name=self.thread, count=len(messages)))

    def say(self, text: str) -> None:
        """Answer the person's next message."""
        lang = detect_language(text)
        is_first = not self.conversation.messages
        if is_first and self.agent.settings.lang == "auto" and lang != self.view.lang:
            self.view.lang = lang
            self._greet()
        posts = [*_posts(self.conversation.messages), text]
        self.conversation.begin(text, assess_history(posts).level)
        self._answer()

    def retry(self) -> None:
        """Answer the last message anew."""
        if self.conversation.ask_again() is None:
            self.view.hint(self.view.texts.nothing_to_retry)
        else:
            self._answer()

    def _answer(self) -> None:
        turn = self.conversation.last
        assert turn is not None  # its callers open one
        self.view.wait()
        try:
            self._interrupts.run(self._stream(turn))
        except ConfigError as error:
            self.view.hint(str(error))
            return
        except Exception as error:
            self._fail(turn, error)
        else:
            after = self.conversation.last
            assert after is not None
            if after.answer is turn.answer:  # no new one: it was stopped
                self.view.stop(is_kept=after.answer is None and after.level != "none")
        self._keep()
        self._remind()

    async def _stream(self, turn: Turn) -> None:
        config: Any = {"configurable": self._options(turn)}
        # It is a generator, though `Runnable` types it as an iterator.
        events = cast("AsyncGenerator[EmpathyStreamItem]", self.agent.astream(turn.asked, config))
        async with aclosing(events) as items:
            async for item in items:
                if isinstance(item, LayerFinished):
                    self.view.layer(item.layer, item.reading)
                elif isinstance(item, AnswerDelta):
                    self.view.delta(item.text)
                elif isinstance(item, EmpathyReply):
                    self.conversation.finish(item)
                    self.view.end(item.warnings)

    def _options(self, turn: Turn) -> dict[str, object]:
        options: dict[str, object] = {
            "empathy_support": self.support,
            "empathy_show_chain": self.show_chain,
        }
        seed = self.agent.settings.sampling.seed
        if seed is not None:
            options["empathy_sampling"] = {"seed": (seed + turn.attempts) % 2**32}
        return options

    def _fail(self, turn: Turn, error: Exception) -> None:
        # The text of a foreign error may quote the person; ours never do.
        told = str(error) if isinstance(error, EmpathyAgentError) else type(error).__name__
        self.view.end()
        region = self.agent.settings.region
        self.view.print(safe_reply(self.view.lang, region, turn.level))
        self.view.note(self.view.texts.failed.format(text=told))

    def _remind(self) -> None:
        if self._clock() - self._reminded >= PAUSE_S:
            self._reminded = self._clock()
            self.view.hint(f"{self.view.texts.pause}\n{self.agent.notice(self.view.lang)}\n")

    def save(self, name: str = "") -> None:
        """Store the conversation from now on.

        Raises:
            ConfigError: The history cannot be used.
        """
        if self.thread is not None:
            self.view.hint(self.view.texts.saved_already.format(name=self.thread))
            return
        name = name or default_name()
        if self._open_store(name) is not None:
            self.close()
            self.view.hint(self.view.texts.name_taken.format(name=name))
            return
        self._keep()
        self._announce()

    def _open_store(self, name: str) -> list[AnyMessage] | None:
        """Store under `name` from now on; return what is there already."""
        if not name.strip():
            raise ConfigError("give the stored chat a name that is not empty")
        store = ChatStore(self.history)
        try:
            messages = store.read(name)
        except BaseException:
            store.close()
            raise
        self._store, self.thread = store, name
        return messages

    def _announce(self) -> None:
        self.view.hint(self.view.texts.saved.format(name=self.thread, path=self.history))

    def _keep(self) -> None:
        messages = self.conversation.messages
        if self._store is None or self.thread is None or not messages:
            return
        try:
            self._store.write(self.thread, messages)
        except ConfigError as error:  # the next turn writes all of it
            self.view.note(self.view.texts.not_stored.format(text=error))

    def forget(self) -> None:
        """Delete the conversation wherever it is, and clear the screen."""
        problem = None
        try:
            if self._store is not None and self.thread is not None:
                self._store.delete(self.thread)
        except ConfigError as error:
            problem = str(error)
        self.close()
        self.conversation = Conversation()
        self.agent.backend.forget()
        if self.on_forget is not None:
            self.on_forget()
        self.view.clear()
        texts = self.view.texts
        if problem is None:
            self.view.hint(texts.forgotten)
        else:
            self.view.note(texts.forgotten_but.format(text=problem))

    def close(self) -> None:
        """End the storing."""
        if self._store is not None:
            self._store.close()
        self._store = self.thread = None
