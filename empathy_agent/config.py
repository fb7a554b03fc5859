"""The settings of one request, and the order in which their sources override each other.

A host sets them when it builds an agent, per call through LangGraph's
`configurable["empathy_*"]`, or through a context object of type `Settings`; later sources
override earlier ones field by field, inside `sampling` and `budgets` too. Mistakes raise
`ConfigError`, which names the key and never its value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import Language, Support

PREFIX = "empathy_"
"""What our keys in LangGraph's `configurable` begin with; other keys are the host's own."""

_Tokens = Annotated[int, Field(ge=1, le=32_768)]


class _Options(BaseModel):
    """Base of all settings: frozen, closed, and silent about values when validation fails."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class Sampling(_Options):
    """How the next token is drawn."""

    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    """In [0, 2]; 0 always takes the likeliest token."""
    top_p: float = Field(default=0.9, gt=0.0, le=1.0)
    """In (0, 1]: the probability mass to draw from; 1 switches it off."""
    top_k: int = Field(default=40, ge=0)
    """How many of the likeliest tokens to draw from; 0 switches it off."""
    repeat_penalty: float = Field(default=1.1, gt=0.0, le=2.0)
    """In (0, 2]: what the logits of recent tokens are divided by; 1 switches it off."""
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    """The seed of the draw; None draws anew each time."""


class Budgets(_Options):
    """The most new tokens each part may take."""

    emotion: _Tokens = 160
    cause: _Tokens = 160
    intention: _Tokens = 96
    strategy: _Tokens = 96
    answer: _Tokens = 512


class Settings(_Options):
    """Everything a host may set for one request."""

    lang: Literal["auto", "zh", "en"] = "auto"
    """The language of the prompts; `"auto"` takes the seeker's."""
    region: str | None = None
    """The region pack of crisis resources; None means generic ones, never a guess."""
    support: Support | None = None
    """The support a host or person declares; None lets the model read it."""
    mode: Literal["graph", "single_pass"] = "graph"
    """`"graph"` runs a node per layer, `"single_pass"` lets the model write the whole chain."""
    on_fault: Literal["safe_reply", "raise"] = "safe_reply"
    """What a failing node or backend leads to; `"raise"` is ignored from risk `elevated` up."""
    show_chain: bool = False
    """Whether the chain is streamed to the host, not only the answer."""
    feed_earlier_chains: bool = False
    """Whether the chains of earlier turns are part of the prompt."""
    trace_content: bool = False
    """Whether tracers may see the seeker's words."""
    deadline_s: float | None = Field(default=None, gt=0.0)
    """Seconds a request may take; None sets no limit."""
    sampling: Sampling = Sampling()
    budgets: Budgets = Budgets()


def merge_settings(
    base: Settings, configurable: Mapping[str, object] | None, context: Settings | None
) -> Settings:
    """Merge the three sources: constructor < `configurable["empathy_*"]` < context object.

    Of `context` only the fields that were set on it count; a mapping for `sampling` or `budgets`
    overrides only the keys it holds.

    Raises:
        ConfigError: A key that begins with `empathy_` is unknown, or its value is unusable.
    """
    values: dict[str, object] = _explicit(base)
    for key, value in (configurable or {}).items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if name not in Settings.model_fields:
            raise ConfigError(_unknown(PREFIX, name, Settings.model_fields))
        _overlay(values, name, value)
    if context is not None:
        for name, value in _explicit(context).items():
            _overlay(values, name, value)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        message = _invalid(error)
    # Raised outside the handler, so that not even the context of the exception holds a value.
    raise ConfigError(message)


def _explicit(settings: _Options) -> dict[str, object]:
    """Return the fields that were set, with nested settings as dictionaries of theirs."""
    values: dict[str, object] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name in settings.model_fields_set:
            values[name] = _explicit(value) if isinstance(value, _Options) else value
    return values


def _overlay(values: dict[str, object], name: str, value: object) -> None:
    if isinstance(value, _Options):
        value = _explicit(value)
    earlier = values.get(name)
    if isinstance(value, Mapping):
        values[name] = {**earlier, **value} if isinstance(earlier, dict) else dict(value)
    else:
        values[name] = value


def _invalid(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return f"setting {_named(PREFIX, '.'.join(path))} is unusable: {first['msg']}"
    nested: type[_Options] = Sampling if path[0] == "sampling" else Budgets
    return _unknown(f"{PREFIX}{path[0]}.", path[-1], nested.model_fields)


def _unknown(prefix: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {prefix + near[0]!r}?" if near else f"known are {', '.join(names)}"
    return f"unknown setting {_named(prefix, name)}; {hint}"


def _named(prefix: str, name: str) -> str:
    """Quote a key only where it looks like one: a stray text in its place may be a person's."""
    is_name = re.fullmatch(r"[\w.]{1,48}", name, re.ASCII)
    return repr(prefix + name) if is_name else f"{prefix!r} with no valid name"


_HAN = re.compile(r"[\u3400-\u9fff]")
_WIDE_SIGN = re.compile(r"[\u3000-\u303f\uff00-\uffef]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")


def detect_language(text: str) -> Language:
    """Return `"zh"` where Han characters are at least as many as Latin words, else `"en"`.

    A text with neither is Chinese where it has full-width signs.
    """
    han, words = len(_HAN.findall(text)), len(_LATIN_WORD.findall(text))
    if han == words == 0:
        return "zh" if _WIDE_SIGN.search(text) else "en"
    return "zh" if han >= words else "en"
