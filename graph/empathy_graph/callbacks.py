"""LangChain's chat-model callbacks, fired by hand: this is how answer tokens reach `stream_mode="messages"`.

The model behind the answer is no LangChain model, so `respond` reports as one. Unless `trace_content` is set, tracers
are left out and no handler is given the person's words: the input is reported as an empty list of messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.callbacks.manager import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.tracers.base import BaseTracer

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
            {"name": "empathy", "lc": 1, "type": "not_implemented", "id": ["empathy_graph", "respond"]},
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
    if given is None:
        return None
    if not isinstance(given, BaseCallbackManager):
        return CallbackManager(handlers=[h for h in given if _may_see(run, h)])
    return CallbackManager(
        handlers=[h for h in given.handlers if _may_see(run, h)],
        inheritable_handlers=[h for h in given.inheritable_handlers if _may_see(run, h)],
        parent_run_id=given.parent_run_id,
        tags=given.tags,
        inheritable_tags=given.inheritable_tags,
        metadata=given.metadata,
        inheritable_metadata=given.inheritable_metadata,
    )


def _may_see(run: Run, handler: BaseCallbackHandler) -> bool:
    if run.settings.trace_content or not isinstance(handler, BaseTracer):
        return True
    # The handlers behind `astream_events` are tracers in form, but they serve the host's own stream.
    return isinstance(handler, _StreamingCallbackHandler)
