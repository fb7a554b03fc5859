"""Chat models for tests and the bench: they say what a script says, in every way in which a model may be asked.

`ScriptedChatModel` only has plain text; `ToolChatModel` has tool calls, `JsonChatModel` all modes of
`with_structured_output`. Without a script they answer sensibly: a schema is filled in with words of the post, any other
question gets a short reply. A script is a list of lines to use up: a text, a mapping of fields, an exception to raise,
or a function of the call that returns one of these.

    model = JsonChatModel(script=[{"emotions": [...], "situation": "…"}, TimeoutError()])
    ChatBackend(model)
    assert model.calls[0].mode == "json_schema"
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolCall,
)
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, SkipValidation

from empathy_agent.backends.chat.tokens import estimate
from empathy_agent.config import detect_language
from empathy_agent.segments import THINK_CLOSE, THINK_OPEN

Schema = Mapping[str, Any]
Line = str | Mapping[str, Any] | BaseException | Callable[["ChatCall"], Any]

_CLAUSE = re.compile(
    r"[^\s，。！？；：、,.!?;:…「」“”\"<>＜＞]+(?: [^\s，。！？；：、,.!?;:…「」“”\"<>＜＞]+){0,7}"
)
_PROSE = {"zh": "这件事压了一段时间，心里放不下", "en": "this has weighed on them for a while"}
_ANSWER = {
    "zh": "谢谢你愿意说出来。你提到的「{quote}」，听起来真的不容易。想多说说最难的是哪一刻吗？",
    "en": 'Thank you for telling me. What you wrote, "{quote}", sounds hard. Which part is the hardest?',
}


@dataclass(frozen=True)
class ChatCall:
    """One call as the model saw it."""

    messages: tuple[BaseMessage, ...]
    mode: str
    """`"json_schema"`, `"function_calling"`, `"json_mode"` or `"prompt"`."""
    schema: Schema | None
    """The schema that was given, also where it only stands in the question."""

    @property
    def question(self) -> str:
        """The text of the last message."""
        return str(self.messages[-1].text)

    @property
    def text(self) -> str:
        """The text of all messages."""
        return "\n".join(str(one.text) for one in self.messages)


class ScriptedChatModel(BaseChatModel):
    """A chat model with nothing but plain text."""

    script: SkipValidation[list[Line] | None] = None
    """Lines in the order of the calls; None answers sensibly."""
    answer: str | None = None
    """What is said to every question for a text, without a script."""
    calls: SkipValidation[list[ChatCall]] = Field(default_factory=list)
    """Every call that began."""
    began: SkipValidation[threading.Semaphore] = Field(
        default_factory=lambda: threading.Semaphore(0), repr=False
    )
    """Released once for every call that began."""
    has_usage: bool = True
    """Whether `usage_metadata` is told."""
    cached_tokens: int = 0
    """How many tokens of each prompt are told as read from a cache."""
    response: dict[str, Any] = Field(default_factory=dict)
    """The `response_metadata` of every message."""
    chunk_size: int = 3
    """Characters of each streamed chunk."""
    call_delay_s: float = 0.0
    """Seconds before the first token of each call."""
    token_delay_s: float = 0.0
    """Seconds that each estimated token takes."""
    gate: SkipValidation[threading.Event | None] = None
    """Calls and chunks wait until this is set: a provider that hangs."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> ChatResult:
        call, line = self._begin(messages, kwargs)
        text = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
        self._wait(estimate(text) * self.token_delay_s)
        calls = []
        if call.mode == "function_calling" and not isinstance(line, str):
            calls = [ToolCall(name="reading", args=dict(line), id="1")]
        message = AIMessage(
            "" if calls else text,
            tool_calls=calls,
            usage_metadata=self._usage(call, text),
            response_metadata=dict(self.response),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Iterator[ChatGenerationChunk]:
        call, line = self._begin(messages, kwargs)
        text = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
        for start in range(0, len(text), self.chunk_size):
            piece = text[start : start + self.chunk_size]
            self._wait(estimate(piece) * self.token_delay_s)
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        last = AIMessageChunk(
            content="",
            usage_metadata=self._usage(call, text),
            response_metadata=dict(self.response),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def _begin(self, messages: list[BaseMessage], given: Mapping[str, Any]) -> tuple[ChatCall, Any]:
        call = _call_of(messages, given)
        self.calls.append(call)
        self.began.release()
        self._wait(self.call_delay_s)
        is_text = self.answer is not None and call.schema is None
        line: Any = self.answer if is_text else default_line(call)
        if self.script is not None:
            line = self.script.pop(0)
        if callable(line):
            line = line(call)
        if isinstance(line, BaseException):
            raise line
        return call, line

    def _wait(self, seconds: float) -> None:
        if self.gate is not None:
            self.gate.wait()
        if seconds:
            time.sleep(seconds)

    def _usage(self, call: ChatCall, text: str) -> UsageMetadata | None:
        if not self.has_usage:
            return None
        sent = estimate(call.text)
        if call.schema is not None and call.mode in ("json_schema", "function_calling"):
            sent += estimate(json.dumps(call.schema))
        return UsageMetadata(
            input_tokens=sent,
            output_tokens=estimate(text),
            total_tokens=sent + estimate(text),
            input_token_details=InputTokenDetails(cache_read=self.cached_tokens),
        )


class ToolChatModel(ScriptedChatModel):
    """A chat model that also calls tools."""

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as providers do."""
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], **kwargs)


class JsonChatModel(ToolChatModel):
    """A chat model with every mode of structured output."""

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: str = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the model with `method` bound, and what was parsed of its text."""
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw)
        raw = self.bind(response_format={"type": method, "schema": schema, "strict": strict})
        return RunnableMap(raw=raw) | RunnableLambda(_parsed)


def _parsed(result: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = json.loads(result["raw"].text)
    except ValueError as error:
        return {**result, "parsed": None, "parsing_error": error}
    return {**result, "parsed": parsed, "parsing_error": None}


def _call_of(messages: Sequence[BaseMessage], given: Mapping[str, Any]) -> ChatCall:
    schema: Schema | None = None
    mode = "prompt"
    if tools := given.get("tools"):
        mode, schema = "function_calling", tools[0]["function"]["parameters"]
    elif form := given.get("response_format"):
        mode, schema = form["type"], form["schema"]
    else:
        text = str(messages[-1].text)
        if '{"title":"reading"' in text:
            start = text.index('{"title":"reading"')
            schema = json.JSONDecoder().raw_decode(text, start)[0]
    return ChatCall(tuple(messages), mode, schema)


def default_line(call: ChatCall) -> Any:  # noqa: ANN401 - a text or fields
    """Return a plausible line for `call`, quoting the last thing the person wrote."""
    spoken = [str(one.text) for one in call.messages if isinstance(one, HumanMessage)]
    post = spoken[-2] if len(spoken) > 1 else ""
    clause = _CLAUSE.search(post)
    quote = clause[0] if clause else ""
    lang = detect_language(call.question)
    if call.schema is not None:
        return _filled(call.schema, quote, _PROSE[lang])
    answer = _ANSWER[lang].format(quote=quote)
    if THINK_OPEN not in call.question:
        return answer
    chain = "\n".join(
        f"<L{number}>{line}</L{number}>" for number, line in enumerate(_CHAIN[lang], start=1)
    )
    return f"{THINK_OPEN}\n{chain}\n{THINK_CLOSE}\n<answer>{answer}</answer>"


_CHAIN = {
    "zh": (
        "焦虑(2)。处境：心里放不下。",
        "起因：眼前的这件事。",
        "倾听；理解。",
        "命名感受；理解。",
    ),
    "en": (
        "anxiety(2). Situation: this weighs on them.",
        "Cause: what is happening now.",
        "listening; understanding.",
        "naming; understanding.",
    ),
}


def _filled(schema: Schema, quote: str, prose: str, key: str = "") -> Any:  # noqa: ANN401
    """Return a value that `schema` allows: the first of an enum, one item of a list."""
    if "properties" in schema:
        return {
            name: _filled(one, quote, prose, name) for name, one in schema["properties"].items()
        }
    if schema.get("type") == "array":
        return [] if key in ("beliefs", "others") else [_filled(schema["items"], quote, prose)]
    if "enum" in schema:
        return schema["enum"][0]
    return quote if key == "quote" else prose
