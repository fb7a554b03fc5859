"""What the backends of models in this process share: vocabulary, chat template, name and promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from empathy_agent.backends.chat_template import load_template, plain_template, render_segments
from empathy_agent.backends.generation import TokenModel
from empathy_agent.backends.requests import Capabilities, Message
from empathy_agent.backends.token_backend import TokenBackend
from empathy_agent.errors import ConfigError
from empathy_agent.segments import Segment


class ModelVocabulary(Protocol):
    """What rendering and the promises need of a model's tokenizer."""

    special_strings: tuple[str, ...]
    has_control_tags: bool

    @property
    def has_exact_borders(self) -> bool:
        """Whether segments are tokenised as they are."""

    @property
    def bos(self) -> str:
        """The text of the token that begins a sequence, if there is one."""

    @property
    def eos(self) -> str:
        """The text of the token that ends a sequence, if there is one."""

    @property
    def adds_bos(self) -> bool:
        """Whether every prompt of this model begins with `bos`."""


class LocalBackend(TokenBackend):
    """A real model in this process.

    Args:
        model: The model.
        vocabulary: Its tokenizer.
        name: What replies call it.
        template: Its chat template; None takes the documented plain one.
        languages: The languages it was made for, where it says so.
        is_demonstration: Whether it says of itself that it only demonstrates.
        parallel_sequences: How many requests run at once.
        batching: Whether requests share batches.
        max_waiting: Requests that may wait before further ones are refused.
    """

    def __init__(
        self,
        model: TokenModel,
        vocabulary: ModelVocabulary,
        *,
        name: str,
        template: str | None,
        languages: tuple[str, ...] | None,
        is_demonstration: bool,
        parallel_sequences: int,
        batching: bool,
        max_waiting: int,
    ) -> None:
        super().__init__(model, parallel_sequences, is_batching=batching, max_waiting=max_waiting)
        self._name = name
        self._special_strings = vocabulary.special_strings
        self._bos = vocabulary.bos if vocabulary.adds_bos else ""
        self._apply = (
            plain_template
            if template is None
            else load_template(template, bos=vocabulary.bos, eos=vocabulary.eos)
        )
        self._capabilities = Capabilities(
            ids=True,
            exact_borders=vocabulary.has_exact_borders,
            prefix_cache=True,
            rollback=model.can_rollback,
            chat_template="plain" if template is None else "model",
            control_tags=vocabulary.has_control_tags,
            parallel_sequences=parallel_sequences,
            languages=languages,
            demonstration=is_demonstration,
            guided_quotes=True,
            batch_invariant=not batching,
        )

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What this model and library promise."""
        return self._capabilities

    @property
    def special_strings(self) -> tuple[str, ...]:
        """The special strings of the vocabulary, for `segments.escape`."""
        return self._special_strings

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Apply the chat template, with the token that begins every prompt where there is one."""
        segments = render_segments(self._apply, messages)
        if self._bos and not segments[0].text.startswith(self._bos):
            return (Segment(self._bos, control=True), *segments)
        return segments


def check_range(name: str, value: int | None, least: int, most: int) -> None:
    """Raise `ConfigError` unless the option is None or within its range."""
    if value is not None and not least <= value <= most:
        raise ConfigError(f"{name!r} must be from {least} to {most}, not {value!r}")


def check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Raise `ConfigError` unless the option is one of its choices."""
    if value not in choices:
        raise ConfigError(f"{name!r} must be one of {', '.join(map(repr, choices))}, not {value!r}")
