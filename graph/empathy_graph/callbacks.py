"""LangChain's chat-model callbacks, fired by hand: this is how answer tokens reach `stream_mode="messages"`.

The model behind the answer is no LangChain model, so `respond` reports as one. Unless `trace_content` is set, tracers
are left out and no handler is given the person's words: the input is reported as an empty list of messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from langchain_core.callbacks import (
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    Callbacks,
)
from langchain_core.callbacks.manager import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.langchain import LangChainTracer

from empathy_graph.run import Run


class AnswerCallbacks:
    """One answer, as seen by callback handlers."""

    def __init__(self, run: Run, message_id: str) -> None:
        self.run = run
        self.message_id = message_id
        self._manager: CallbackManagerForLLMRun | None = None

    def start(self, messages: Sequence[AnyMessage]) -> None:
        """Report the start of a chat-model run."""
        manager = _sync_manager(self.run)
        if manager is None or self._manager is not None:
            return
        seen: list[BaseMessage] = list(messages) if self.run.settings.trace_content else []
        self._manager = manager.on_chat_model_start(
            {
                "name": "empathy",
                "lc": 1,
                "type": "not_implemented",
                "id": ["empathy_graph", "respond"],
            },
            [seen],
            name="empathy",
        )[0]

    def token(self, text: str) -> None:
        """Report text that has passed the rail."""
        if self._manager is not None:
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=text, id=self.message_id))
            self._manager.on_llm_new_token(text, chunk=chunk)

    def end(self, message: AIMessage) -> None:
        """Report the finished message."""
        if self._manager is not None:
            self._manager.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]))

    def error(self, error: BaseException) -> None:
        """Report that the answer broke off."""
        if self._manager is not None:
            self._manager.on_llm_error(error)
            self._manager = None


def _sync_manager(run: Run) -> CallbackManager | None:
    """Return the node's callbacks as a sync manager: tokens are reported from plain functions."""
    given = run.config.get("callbacks")
    return None if given is None else _filtered(given, run.settings.trace_content)


def without_tracers(given: Callbacks) -> CallbackManager:
    """Return callbacks that report to no tracer, for a run whose input is the person's words."""
    manager = _filtered(given or [], trace_content=False)
    manager.add_handler(_NoTracer())
    return manager


def _filtered(
    given: list[BaseCallbackHandler] | BaseCallbackManager, trace_content: bool
) -> CallbackManager:
    def seeing(handlers: list[BaseCallbackHandler]) -> list[BaseCallbackHandler]:
        return [one for one in handlers if trace_content or _may_see(one)]

    if not isinstance(given, BaseCallbackManager):
        return CallbackManager(handlers=seeing(given), inheritable_handlers=seeing(given))
    return CallbackManager(
        handlers=seeing(given.handlers),
        inheritable_handlers=seeing(given.inheritable_handlers),
        parent_run_id=given.parent_run_id,
        tags=given.tags,
        inheritable_tags=given.inheritable_tags,
        metadata=given.metadata,
        inheritable_metadata=given.inheritable_metadata,
    )


def _may_see(handler: BaseCallbackHandler) -> bool:
    # The handlers behind `astream_events` are tracers in form, but they serve the host's own stream.
    return not isinstance(handler, BaseTracer) or isinstance(handler, _StreamingCallbackHandler)


class _NoTracer(LangChainTracer):
    """Takes the place of the tracer that LangChain adds by itself where the environment asks for it."""

    ignore_chain = ignore_chat_model = ignore_llm = True
    ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self) -> None:
        self.run_map, self.order_map = {}, {}

    def copy_with_metadata_defaults(self, **given: object) -> Self:
        """Return itself: it records nothing."""
        return self
