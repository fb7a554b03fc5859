"""Token counts and costs of chat calls: as the provider tells them, estimated where it does not.

The estimate is deliberately plain: four ASCII characters, or one other character, are one token. Real vocabularies
need fewer for Chinese, so what is estimated to fit does fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

from empathy_agent.chain import Usage

_PER_TOKEN: Final = 4
_COST_KEYS: Final = ("cost", "total_cost", "response_cost")
_USAGE_KEYS: Final = ("token_usage", "usage")

Prices = tuple[float, float]
"""Per million input tokens, per million output tokens."""


def estimate(text: str) -> int:
    """Return about how many tokens `text` is."""
    return ceil(_quarters(text) / _PER_TOKEN)


def _quarters(text: str) -> int:
    plain = sum(map(str.isascii, text))
    return plain + (len(text) - plain) * _PER_TOKEN


class Meter:
    """Lets text pass until it comes to about `budget` tokens."""

    def __init__(self, budget: int) -> None:
        self._left = budget * _PER_TOKEN
        self.is_empty = False
        """Whether something had to be cut."""

    def take(self, text: str) -> str:
        """Return the beginning of `text` that is within the budget."""
        for index, character in enumerate(text):
            self._left -= 1 if character.isascii() else _PER_TOKEN
            if self._left < 0:
                self.is_empty = True
                return text[:index]
        return text


def usage_of(
    told: Mapping[str, object] | None,
    response: Mapping[str, object],
    *,
    sent: int,
    written: int,
    prices: Prices | None,
) -> Usage:
    """Return the usage of one call.

    Args:
        told: The message's `usage_metadata`.
        response: The message's `response_metadata`, in which some providers report what it cost.
        sent: Estimated tokens of the prompt, used where nothing is told.
        written: Estimated tokens of the completion, likewise.
        prices: What is charged where the provider does not say; cached input at the full price.
    """
    known = told or {}
    given, made = _count(known.get("input_tokens")), _count(known.get("output_tokens"))
    given = sent if given is None else given
    made = written if made is None else made
    details = known.get("input_token_details")
    cached = _count(details.get("cache_read")) if isinstance(details, Mapping) else None
    reused = min(cached or 0, given)
    cost = _cost(response)
    if cost is None:
        cost = (given * prices[0] + made * prices[1]) / 1e6 if prices else 0.0
    return Usage(
        prompt_tokens=given,
        evaluated_tokens=given - reused + made,
        reused_tokens=reused,
        completion_tokens=made,
        cost=cost,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _cost(response: Mapping[str, object]) -> float | None:
    for place in (response, *(response.get(key) for key in _USAGE_KEYS)):
        for key in _COST_KEYS:
            value = place.get(key) if isinstance(place, Mapping) else None
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                return float(value)
    return None
