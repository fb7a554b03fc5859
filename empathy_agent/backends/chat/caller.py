"""The one module that speaks to LangChain: a call goes out alone and comes back as text, fields and usage.

What a host has set up around its model must not see a person's words: tracers (also those that the environment asks
for), callbacks of the calling code or of the model itself, the global cache, and the host's `messages` stream. So the
model is copied without them, every call runs in an empty context with tracing off, and nothing of a foreign exception
but its kind leaves. Sampling, token limits, retries and timeouts stay those that the host gave the model.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import RunnableConfig
from langsmith.run_helpers import tracing_context

from empathy_agent.backends.chat.answer import without_thinking
from empathy_agent.backends.chat.tokens import Prices, estimate, usage_of
from empathy_agent.backends.requests import Message
from empathy_agent.chain import Usage
from empathy_agent.errors import ConfigError

Mode = Literal["json_schema", "function_calling", "json_mode", "prompt"]
"""How a model is asked for structured output; `"prompt"` only asks in words."""

_NO_STREAM: Final = "nostream"
"""LangGraph's tag for calls that its `messages` stream leaves out.

Source: https://reference.langchain.com/python/langgraph/constants/ (`TAG_NOSTREAM`)
"""
_LENGTH: Final = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_MOST_BRACES: Final = 32


def check_model(model: object) -> BaseChatModel:
    """Return `model` if it is a chat model.

    Raises:
        ConfigError: It is something else, such as a model with bound arguments.
    """
    if not isinstance(model, BaseChatModel):
        raise ConfigError(
            f"ChatBackend needs a LangChain chat model, not {type(model).__name__}; give settings "
            "to the model's constructor instead of binding them"
        )
    return model


def untraced() -> AbstractContextManager[None]:
    """Return a block in which LangSmith traces nothing, whatever the environment says."""
    return tracing_context(enabled=False)


@dataclass(frozen=True)
class Reply:
    """What came back from one call."""

    text: str
    data: Mapping[str, object] | None
    """The fields, where the model gave any."""
    usage: Usage

    @property
    def is_prose(self) -> bool:
        """Whether the model did not even try to give fields."""
        return self.data is None and "{" not in self.text


@dataclass(frozen=True)
class Piece:
    """A piece of a streamed text."""

    text: str
    is_cut: bool = False
    """Whether the provider says that it stopped at its own limit."""


class Caller:
    """Calls a chat model.

    Args:
        model: The host's model; it is copied, never changed.
        prices: See `tokens.usage_of`.
    """

    def __init__(self, model: BaseChatModel, prices: Prices | None) -> None:
        self._model = model.model_copy(update={"callbacks": None, "cache": False, "verbose": False})
        self._prices = prices

    @property
    def model(self) -> BaseChatModel:
        """The copy that is called."""
        return self._model

    def count(self, text: str) -> int:
        """Return the tokens of `text`, estimated unless the host gave the model a local tokenizer."""
        # `get_num_tokens` downloads a tokenizer or asks the provider; this hook is a plain function.
        encode = self._model.custom_get_token_ids
        return estimate(text) if encode is None else len(encode(text))

    def fields(
        self, messages: Sequence[Message], mode: Mode, schema: Mapping[str, object]
    ) -> Reply:
        """Ask for fields after `schema`; what the model cannot do raises as it likes."""
        sent = _langchain(messages)
        data: object = None
        if mode == "prompt":
            message: Any = self._model.invoke(sent, _config())
        else:
            asking = _asking(self._model, mode)
            model = self._model.with_structured_output(dict(schema), include_raw=True, **asking)
            result = cast("dict[str, Any]", model.invoke(sent, _config()))
            message, data = result["raw"], result["parsed"]
        text = without_thinking(message.text)
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        if not isinstance(data, Mapping):
            data = calls[0]["args"] if calls else _first_object(text)
        written = text + (json.dumps(calls[0]["args"], ensure_ascii=False) if calls else "")
        usage = self._usage(messages, message.usage_metadata, message.response_metadata, written)
        return Reply(text, data if isinstance(data, Mapping) else None, usage)

    def stream(
        self, messages: Sequence[Message], usages: list[Usage]
    ) -> Generator[Piece, None, None]:
        """Yield the text as it comes; at the end, also an early one, `usages` gets what it cost."""
        told: UsageMetadata | None = None
        response: dict[str, object] = {}
        written: list[str] = []
        try:
            with closing(
                cast("Any", self._model.stream(_langchain(messages), _config()))
            ) as chunks:
                for chunk in chunks:
                    if chunk.usage_metadata:
                        told = add_usage(told, chunk.usage_metadata)
                    response |= chunk.response_metadata
                    text = str(chunk.text)
                    written.append(text)
                    yield Piece(text, _is_cut(chunk.response_metadata))
        finally:
            usages.append(self._usage(messages, told, response, "".join(written)))

    def _usage(
        self,
        messages: Sequence[Message],
        told: UsageMetadata | None,
        response: Mapping[str, object],
        written: str,
    ) -> Usage:
        sent = sum(estimate(one.content) for one in messages)
        return usage_of(
            cast("Mapping[str, object] | None", told),  # a TypedDict, read key by key
            response,
            sent=sent,
            written=estimate(written),
            prices=self._prices,
        )


def takes_method(model: BaseChatModel) -> bool:
    """Return whether the model's own `with_structured_output` knows several modes."""
    own = type(model).with_structured_output
    return own is not BaseChatModel.with_structured_output and "method" in _parameters(model)


def _asking(model: BaseChatModel, mode: Mode) -> dict[str, Any]:
    """Return the arguments of `with_structured_output` that choose `mode`."""
    if not takes_method(model):
        return {}
    is_strict = mode in ("json_schema", "function_calling") and "strict" in _parameters(model)
    return {"method": mode, "strict": True} if is_strict else {"method": mode}


def _parameters(model: BaseChatModel) -> Mapping[str, object]:
    return inspect.signature(type(model).with_structured_output).parameters


def _config() -> RunnableConfig:
    return {"callbacks": [], "tags": [_NO_STREAM]}


def _langchain(messages: Sequence[Message]) -> list[BaseMessage]:
    """Return LangChain's messages; system messages in a row become one, as some providers need."""
    found: list[BaseMessage] = []
    for role, group in groupby(messages, key=lambda one: one.role):
        # A lone surrogate, which JSON input can smuggle in, cannot be sent.
        contents = [one.content.encode("utf-8", "replace").decode("utf-8") for one in group]
        if role == "system":
            found.append(SystemMessage("\n\n".join(contents)))
        else:
            kind = HumanMessage if role == "user" else AIMessage
            found += [kind(content) for content in contents]
    return found


def _first_object(text: str) -> Mapping[str, object] | None:
    """Return the first JSON object in `text`, wherever it stands."""
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    for _ in range(_MOST_BRACES):
        if start < 0:
            return None
        try:
            found, _end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
        else:
            return cast("Mapping[str, object]", found)  # what begins with a brace is an object
    return None


def _is_cut(response: Mapping[str, Any]) -> bool:
    reason = response.get("finish_reason") or response.get("stop_reason")
    return isinstance(reason, str) and reason.lower() in _LENGTH
