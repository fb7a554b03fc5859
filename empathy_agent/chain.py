"""The four readings of a chain and the reply they lead to, as frozen pydantic models.

A reading is what one layer of the transcript says, typed. `text` is the layer as the model wrote it and always there;
the typed fields are what the lenient reader of `layer_text` could make of it. Nothing here holds a model or a handle,
so every object survives JSON both ways. Validation errors never quote their input (`hide_input_in_errors`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from empathy_agent.vocabulary import Act, LayerName, RiskLevel, Support

Finish = Literal["stop", "length", "crisis", "safe_reply"]


class Record(BaseModel):
    """Base of all records: frozen, closed, and silent about its input when validation fails."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Emotion(Record):
    """One emotion the seeker shows."""

    id: str
    """An id of `vocabulary.EMOTIONS`."""
    intensity: Literal[1, 2, 3] | None = None
    """1 slight, 2 clear, 3 strong; None where the layer does not say."""
    quote: str | None = None
    """The seeker's own words for it: an exact substring of the post, or None."""


class Evidence(Record):
    """A cause or a belief, with the seeker's words for it where there are any."""

    text: str
    quote: str | None = None
    """An exact substring of the post, or None."""


class Reading(Record):
    """What every layer has."""

    text: str
    """The layer as written, without its tags."""
    finish: Literal["stop", "length"] = "stop"
    """`"length"` where the layer reached its token budget and was closed by the node."""


class EmotionReading(Reading):
    """Layer 1: emotions in their situation."""

    emotions: tuple[Emotion, ...] | None = None
    situation: str | None = None
    risk: RiskLevel | None = None
    """A level this layer itself names; it may only raise the level of the safety floor."""


class CauseReading(Reading):
    """Layer 2: what led to it, and the beliefs that colour it."""

    causes: tuple[Evidence, ...] | None = None
    beliefs: tuple[Evidence, ...] | None = None


class IntentionReading(Reading):
    """Layer 3: the support that is wanted."""

    primary: Support | None = None
    others: tuple[Support, ...] = ()
    declared: bool = False
    """True where a host or a person chose the support, instead of the model reading it."""


class StrategyReading(Reading):
    """Layer 4: how the reply meets it."""

    acts: tuple[Act, ...] | None = None


class Chain(Record):
    """The whole chain; a layer that did not run is None."""

    emotion: EmotionReading | None = None
    cause: CauseReading | None = None
    intention: IntentionReading | None = None
    strategy: StrategyReading | None = None


class Usage(Record):
    """Tokens of one request, summed over its nodes."""

    prompt_tokens: int = 0
    """Tokens of the rendered prompt, counted once."""
    evaluated_tokens: int = 0
    """Tokens the model really computed, prompt and generated."""
    reused_tokens: int = 0
    """Tokens taken over from a cache instead of being computed again."""
    completion_tokens: int = 0
    """Tokens the model generated."""
    cost: float = 0.0
    """What the calls cost in the currency of the backend's price list; 0 where nothing is charged."""

    def __add__(self, other: Usage) -> Usage:
        """Sum two usages field by field; the prompt is counted once, as the larger of the two."""
        return Usage(
            prompt_tokens=max(self.prompt_tokens, other.prompt_tokens),
            evaluated_tokens=self.evaluated_tokens + other.evaluated_tokens,
            reused_tokens=self.reused_tokens + other.reused_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost=self.cost + other.cost,
        )


class RailHit(Record):
    """One action of the output rail: which rule, where and what was done; never the text."""

    rule: str
    """The rule's id, such as `"diagnosis.zh"`."""
    where: LayerName | Literal["answer"]
    action: Literal["dropped", "replaced"]


class EmpathyReply(Record):
    """What the component returns for one turn."""

    answer: str
    chain: Chain = Field(default_factory=Chain)
    risk: RiskLevel = "none"
    rail: tuple[RailHit, ...] = ()
    usage: Usage = Field(default_factory=Usage)
    model: str = ""
    """The model's name, as the backend reports it."""
    warnings: tuple[str, ...] = ()
    """What the person or host should know: cuts, repairs, an unsupported language. Never holds the person's words."""
    finish: Finish = "stop"
