"""Fit a conversation into a model's context without ever cutting silently.

Contents that others wrote are escaped, the chat template is applied, and while the result leaves no
room for the completion, the oldest turns go first, then the middle of the last post, with a mark in
its place. Every cut is reported in `warnings`, in the conversation's language and without its
words; what still cannot fit raises `ContextOverflow`. The system prompt is never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Message
from empathy_agent.config import detect_language
from empathy_agent.errors import ConfigError, ContextOverflow
from empathy_agent.segments import Segment, escape
from empathy_agent.vocabulary import Language

_MIN_KEPT = 80
"""Characters: a post is not cut to less than this, because no honest reply could follow."""

_MARK = {
    "zh": "\n……（中间略去约{count}字）……\n",
    "en": "\n[… about {count} characters left out …]\n",
}
_TURNS_CUT = {
    "zh": "对话太长，最早的{count}条消息没有读入",
    "en": "the conversation is too long; its oldest {count} messages were left out",
}
_POST_CUT = {
    "zh": "文字太长，中间约{count}字没有读入",
    "en": "the text is too long; about {count} characters in its middle were left out",
}


@dataclass(frozen=True)
class FittedPrompt:
    """A rendered prompt that fits, with its token ids where the backend takes ids."""

    segments: tuple[Segment, ...]
    warnings: tuple[str, ...] = ()
    """What was left out, for the person or host."""


def fit(
    backend: Backend,
    messages: Sequence[Message],
    reserve_tokens: int,
    language: Language | None = None,
) -> FittedPrompt:
    """Render `messages` so that `reserve_tokens` more fit the context after them.

    Args:
        backend: Whose template, tokenizer and context count.
        messages: The conversation; the last one is the post to answer.
        reserve_tokens: Room for everything the chain will add: tags, layers and answer.
        language: The language of marks and warnings; None takes the last post's.

    Raises:
        ConfigError: There is no message.
        ContextOverflow: The system prompt and a heavily cut post are still too long.
    """
    if not messages:
        raise ConfigError("there is no message to answer; pass at least one user message")
    chosen = language or detect_language(messages[-1].content)
    room = backend.context_size - reserve_tokens

    def measure(candidate: Sequence[Message]) -> tuple[Segment, ...] | None:
        segments = backend.pin(backend.render([_escaped(backend, one) for one in candidate]))
        return segments if backend.count_tokens(segments) <= room else None

    if (segments := measure(messages)) is not None:
        return FittedPrompt(segments)
    remaining, dropped = _drop_turns(messages, measure)
    warnings = [_TURNS_CUT[chosen].format(count=dropped)] if dropped else []
    if (segments := measure(remaining)) is None:
        segments, cut = _cut_post(remaining, measure, chosen)
        warnings.append(_POST_CUT[chosen].format(count=cut))
    return FittedPrompt(segments, tuple(warnings))


_Measure = Callable[[Sequence[Message]], "tuple[Segment, ...] | None"]


def _escaped(backend: Backend, message: Message) -> Message:
    """Defuse what the tokenizer or the transcript's reader could take for a tag or special."""
    if message.trusted or backend.capabilities.control_tags:
        return message
    return replace(message, content=escape(message.content, backend.special_strings))


def _drop_turns(messages: Sequence[Message], measure: _Measure) -> tuple[list[Message], int]:
    """Drop as few of the oldest turns as needed, all of them if that is not enough."""
    system = [one for one in messages[:-1] if one.role == "system"]
    turns = [one for one in messages[:-1] if one.role != "system"]
    # A conversation that begins with an answer makes no sense to a model: cut before a user's turn.
    starts = [index for index, one in enumerate(turns) if index and one.role == "user"]
    starts.append(len(turns))
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if measure([*system, *turns[starts[middle] :], messages[-1]]) is None:
            low = middle + 1
        else:
            high = middle
    return [*system, *turns[starts[low] :], messages[-1]], starts[low]


def _cut_post(
    messages: list[Message], measure: _Measure, language: Language
) -> tuple[tuple[Segment, ...], int]:
    """Keep as much as fits of the last post's beginning and end, in equal parts."""
    *before, post = messages
    length = len(post.content)

    def keep(count: int) -> tuple[Segment, ...] | None:
        head, tail = count - count // 2, count // 2
        mark = _MARK[language].format(count=length - count)
        text = f"{post.content[:head]}{mark}{post.content[length - tail :]}"
        return measure([*before, replace(post, content=text)])

    low, high = min(_MIN_KEPT, length), length
    best = keep(low)
    if best is None:
        raise ContextOverflow(
            "the text does not fit the model's context even when it is cut; open the model with a "
            "larger context, shorten the system prompt, or lower the token budgets"
        )
    while high - low > 1:
        middle = (low + high) // 2
        segments = keep(middle)
        if segments is None:
            high = middle
        else:
            best, low = segments, middle
    return best, length - low
