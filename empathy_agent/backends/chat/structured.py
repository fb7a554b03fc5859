"""Structured output from any chat model: the best way it has, found out once, and one repair.

The ways are tried from the strictest to plain words: a JSON schema, a tool call, JSON mode, the prompt. A model that
refuses a way, or answers it in prose, is asked in the next; what has worked is kept for all later calls. An answer
that does not fit is asked for once more, with the names of the fields and what they allow, never what was in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from langchain_core.language_models import BaseChatModel

from empathy_agent.backends.chat.caller import Caller, Mode, Reply, takes_method
from empathy_agent.backends.chat.faults import classified, is_unsupported
from empathy_agent.backends.chat.shapes import Form
from empathy_agent.backends.requests import Message
from empathy_agent.chain import Usage
from empathy_agent.errors import OutputParseError
from empathy_agent.vocabulary import LayerName

Structured = Literal["auto", "json_schema", "function_calling", "json_mode", "prompt"]
Ask = Callable[[Mapping[str, object] | None, Sequence[str]], Sequence[Message]]
"""Returns the messages, given the schema where it must be said in words and the problems so far."""

_IN_WORDS: Final[frozenset[Mode]] = frozenset({"json_mode", "prompt"})


def modes_of(model: BaseChatModel, structured: Structured) -> tuple[Mode, ...]:
    """Return the ways in which `model` may be asked, the strictest first."""
    if structured != "auto":
        return (structured,)
    profile = model.profile or {}
    modes: list[Mode] = []
    if takes_method(model) and profile.get("structured_output") is not False:
        modes.append("json_schema")
    has_tools = type(model).bind_tools is not BaseChatModel.bind_tools
    if has_tools and profile.get("tool_calling") is not False:
        modes.append("function_calling")
    if takes_method(model):
        modes.append("json_mode")
    return (*modes, "prompt")


class StructuredModel:
    """Asks a model for fields.

    Args:
        caller: The model.
        structured: The way to ask, or `"auto"`.
    """

    def __init__(self, caller: Caller, structured: Structured) -> None:
        self._caller = caller
        self._modes = modes_of(caller.model, structured)
        self._at = 0
        self._is_proved = False

    def ask(
        self, form: Form, ask: Ask, check: Callable[[], None], node: LayerName
    ) -> tuple[dict[LayerName, str], Usage]:
        """Return the texts of the layers in `form`, and what they cost.

        Args:
            form: What is asked for.
            ask: Puts it in words.
            check: Raises where nobody waits any more; called before every call.
            node: The layer that an `OutputParseError` names.

        Raises:
            BackendError: The model failed.
            OutputParseError: Its answer did not fit, nor did the second one.
        """
        at, usage = self._at, Usage()
        problems: list[str] = []
        has_repaired = False
        while True:
            check()
            is_last = self._is_proved or at == len(self._modes) - 1
            reply = self._call(form, ask, self._modes[at], problems, is_last)
            if reply is not None:
                usage = usage + reply.usage
            if reply is None or (reply.is_prose and not is_last and not has_repaired):
                at += 1
                continue
            texts, problems = form.read(reply.data)
            if not problems:
                self._at, self._is_proved = at, True
                return texts, usage
            if has_repaired:
                break
            has_repaired = True
        raise OutputParseError(
            f"the chat model's answer for {node!r} did not fit its fields, nor did a second one; "
            "use a model with structured output",
            node=node,
        )

    def _call(
        self, form: Form, ask: Ask, mode: Mode, problems: Sequence[str], is_last: bool
    ) -> Reply | None:
        """Call once; None where the model does not know this way and there is another."""
        in_words = mode in _IN_WORDS or bool(problems)
        messages = ask(form.schema if in_words else None, problems)
        try:
            return self._caller.fields(messages, mode, form.schema)
        except Exception as error:
            problem = None if is_unsupported(error) and not is_last else classified(error)
        if problem is not None:  # raised outside the handler, which holds the foreign exception
            raise problem
        return None
