"""`EmpathyAgent`: the graph as a LangChain runnable. Text, messages or a dict in, an `EmpathyReply` out.

`stream` yields typed events and, last, the reply itself; leaving the stream early stops the model within one token.
The agent owns its model only if it opened it: `close()`, or a `with` block, gives that back.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, patch_config

from empathy_agent.backends.base import Backend
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Settings, detect_language, merge_settings
from empathy_agent.errors import ConfigError
from empathy_agent.models.resolver import open_backend
from empathy_agent.safety import ai_notice
from empathy_agent.vocabulary import Language
from empathy_graph.builder import EmpathyGraph, ModelLike, build_graph
from empathy_graph.callbacks import without_tracers
from empathy_graph.events import EmpathyStreamItem, from_custom
from empathy_graph.prompts import Prompts
from empathy_graph.run import CANCEL_KEY

AgentInput = str | Sequence[AnyMessage | tuple[str, str] | dict[str, Any]] | dict[str, Any]
TEXT_KEYS = ("text", "input", "question")
_MODES: Any = ["custom", "values"]


class EmpathyAgent(Runnable[AgentInput, EmpathyStreamItem]):
    """Reads what someone wrote and answers through a Chain-of-Empathy.

    Args:
        model: A backend, or what `open_backend` takes: `"tiny"`, a path, `"hf:org/repo"`, the
            address of an endpoint, a LangChain chat model (see `empathy_agent.models.specs`).
        settings: Defaults of every call; `configurable["empathy_*"]` overrides them per call.
        nodes: Own nodes by role; see `build_graph`.
        prompts: Own prompts for models that were not trained on the chain.
        name: The runnable's name in traces and graphs.
    """

    def __init__(
        self,
        model: ModelLike = "tiny",
        *,
        settings: Settings | None = None,
        nodes: Mapping[str, object] | None = None,
        prompts: Prompts | None = None,
        name: str = "empathy",
    ) -> None:
        self.name = name
        self.settings = settings or Settings()
        self._owns_backend = not isinstance(model, Backend)
        self.backend: Backend = model if isinstance(model, Backend) else open_backend(model)
        try:
            self.graph: EmpathyGraph = build_graph(
                self.backend, settings=settings, nodes=nodes, prompts=prompts, checkpointer=False
            )
        except BaseException:
            self.close()
            raise

    @property
    def InputType(self) -> Any:  # noqa: ANN401 - the name and type are Runnable's
        """What `invoke` takes."""
        return str | list[AnyMessage] | dict[str, Any]

    @property
    def OutputType(self) -> type[EmpathyReply]:
        """What `invoke` returns; a stream ends with it."""
        return EmpathyReply

    def notice(self, lang: Language = "zh") -> str:
        """Return the notice that this is an AI, for the host to show."""
        return ai_notice(lang)

    @staticmethod
    def is_chinese(text: str) -> bool:
        """Return whether prompts and our own words for `text` would be Chinese."""
        return detect_language(text) == "zh"

    def invoke(
        self,
        input: AgentInput,
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> EmpathyReply:
        """Return the reply to the last message of `input`.

        Raises:
            ConfigError: The input or a setting is unusable.
            ContextOverflow: The input cannot fit the model's context.
        """
        reply = None
        for item in self.stream(input, config, **kwargs):
            reply = item
        return _finished(reply)

    async def ainvoke(
        self,
        input: AgentInput,
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> EmpathyReply:
        """Return what `invoke` returns, without blocking the event loop."""
        reply = None
        async for item in self.astream(input, config, **kwargs):
            reply = item
        return _finished(reply)

    def stream(
        self,
        input: AgentInput,
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Iterator[EmpathyStreamItem]:
        """Yield events as they happen, then the `EmpathyReply`."""
        cancel = threading.Event()
        values: dict[str, Any] = {}
        parts = self.graph.stream(
            _given(input),
            self._config(config, cancel, kwargs.get("context")),
            stream_mode=_MODES,
            **kwargs,
        )
        try:
            for mode, data in parts:
                if mode == "values":
                    values = data
                elif (event := from_custom(data)) is not None:
                    yield event
            yield EmpathyReply.model_validate(values["reply"])
        finally:
            cancel.set()

    async def astream(
        self,
        input: AgentInput,
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> AsyncIterator[EmpathyStreamItem]:
        """Yield what `stream` yields, without blocking the event loop."""
        cancel = threading.Event()
        values: dict[str, Any] = {}
        parts = self.graph.astream(
            _given(input),
            self._config(config, cancel, kwargs.get("context")),
            stream_mode=_MODES,
            **kwargs,
        )
        try:
            async for mode, data in parts:
                if mode == "values":
                    values = data
                elif (event := from_custom(data)) is not None:
                    yield event
            yield EmpathyReply.model_validate(values["reply"])
        finally:
            cancel.set()

    def _config(
        self, config: RunnableConfig | None, cancel: threading.Event, context: object
    ) -> RunnableConfig:
        merged = ensure_config(config)
        given = merged.get("configurable", {})
        ours = context if isinstance(context, Settings) else None
        configurable = {**given, CANCEL_KEY: cancel}
        if merge_settings(self.settings, given, ours).trace_content:
            return patch_config(merged, configurable=configurable)
        callbacks = without_tracers(merged.get("callbacks"))
        return {**merged, "configurable": configurable, "callbacks": callbacks}

    def close(self) -> None:
        """Give back the model, if this agent opened it."""
        if self._owns_backend:
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _finished(item: EmpathyStreamItem | None) -> EmpathyReply:
    assert isinstance(item, EmpathyReply)  # a stream ends with the reply or raises
    return item


def _given(value: object) -> Any:  # noqa: ANN401 - LangGraph's input type varies with the schema
    return {"messages": to_messages(value)}


def to_messages(value: object) -> list[BaseMessage]:
    """Return the conversation in `value`: a text, a list of messages, or a dict holding either.

    Raises:
        ConfigError: `value` is none of these.
    """
    if isinstance(value, Mapping):
        keys = [key for key in ("messages", *TEXT_KEYS) if key in value]
        if len(keys) != 1:
            raise ConfigError(
                f"a dict must hold exactly one of 'messages', {', '.join(map(repr, TEXT_KEYS))}"
            )
        value = value[keys[0]]
    if hasattr(value, "to_messages"):  # a prompt value, as a LangChain prompt gives it
        value = value.to_messages()
    if isinstance(value, str):
        return [HumanMessage(value)]
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, Sequence):
        problem = None
        try:
            return convert_to_messages(cast("Any", value))
        except Exception as error:  # LangChain's message quotes the input
            problem = type(error).__name__
        raise ConfigError(
            f"the messages could not be read ({problem}); see LangChain's message formats"
        )
    raise ConfigError(f"give a text, messages or a dict, not {type(value).__name__}")
