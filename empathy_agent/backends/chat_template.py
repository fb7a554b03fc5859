"""From messages to segments: a chat template applied once, split at one sentinel per message.

Every message content is replaced by a random word, the template is rendered, and the result is
split at those words: what lies between them is template (control segments, specials on), what
they stand for is content (specials off). Nothing a person writes is ever seen by the template
engine. A template that thinks by default is told not to, and one that opens a think block all the
same gets it closed empty, as Qwen3 does. Models without a template get the plain one below.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from empathy_agent.backends.requests import Message
from empathy_agent.errors import BackendError
from empathy_agent.segments import Segment

Apply = Callable[[Sequence[Mapping[str, str]]], str]
"""Renders role/content mappings up to the opening of the assistant's turn."""

_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_PLAIN_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}


def plain_template(messages: Sequence[Mapping[str, str]]) -> str:
    """Render the plain template: for each message `### Role`, the content and a blank line."""
    turns = (f"### {_PLAIN_NAMES[one['role']]}\n{one['content']}\n\n" for one in messages)
    return "".join(turns) + "### Assistant\n"


def load_template(source: str, *, bos: str = "", eos: str = "") -> Apply:
    """Compile a model's Jinja template the way transformers does, in a sandbox.

    Source: `transformers.utils.chat_template_utils._compile_jinja_template` (options, filters and
    globals). Deviation: templates with tools, documents or `{% generation %}` are not served.

    Raises:
        BackendError: The template does not compile.
    """
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    try:
        template = environment.from_string(source)
    except TemplateError:
        raise BackendError(
            "the model's chat template does not compile; set chat_template='plain'"
        ) from None

    def apply(messages: Sequence[Mapping[str, str]]) -> str:
        return template.render(
            messages=list(messages),
            add_generation_prompt=True,
            enable_thinking=False,
            bos_token=bos,
            eos_token=eos,
        )

    return apply


def render_segments(apply: Apply, messages: Sequence[Message]) -> tuple[Segment, ...]:
    """Render `messages` with `apply` and split the result into control and content segments.

    Templates that refuse a system message or two turns of one role in a row get them joined.

    Raises:
        BackendError: The template refuses the messages or loses one of them.
    """
    for shaped in (_as_given, _joined, _without_system):
        segments = _try_render(apply, shaped(messages))
        if segments is not None:
            return segments
    raise BackendError(
        "the model's chat template cannot carry these messages; set chat_template='plain'"
    )


def _try_render(apply: Apply, messages: Sequence[Sequence[Message]]) -> tuple[Segment, ...] | None:
    """Render groups, each one turn; None where the template fails or loses a message."""
    marks = [[f"m{secrets.token_hex(12)}" for _ in group] for group in messages]
    turns = [
        {"role": group[0].role, "content": "\n\n".join(words)}
        for group, words in zip(messages, marks, strict=True)
    ]
    try:
        rendered = apply(turns)
    except Exception:  # a template may raise anything; it saw no person's words
        return None
    segments: list[Segment] = []
    contents = [message for group in messages for message in group]
    for mark, message in zip((word for words in marks for word in words), contents, strict=True):
        before, found, rendered = rendered.partition(mark)
        if not found or mark in rendered:
            return None
        segments += [Segment(before, control=True), Segment(message.content)]
    segments.append(Segment(_close_thinking(rendered), control=True))
    return tuple(segment for segment in segments if segment.text)


def _close_thinking(opening: str) -> str:
    """Close an open think block empty; `opening` is the template's text after the last message."""
    if opening.rfind(_THINK_OPEN) <= opening.rfind(_THINK_CLOSE):
        return opening
    return f"{opening.rstrip()}\n\n{_THINK_CLOSE}\n\n"


def _as_given(messages: Sequence[Message]) -> list[list[Message]]:
    return [[message] for message in messages]


def _joined(messages: Sequence[Message]) -> list[list[Message]]:
    return [list(group) for _, group in groupby(messages, key=lambda message: message.role)]


def _without_system(messages: Sequence[Message]) -> list[list[Message]]:
    return _joined([replace(one, role="user") if one.role == "system" else one for one in messages])
