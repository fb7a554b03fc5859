"""The typed events of a streamed turn; the last item of a stream is the `EmpathyReply` itself.

Adding two items of a stream gives the later one. A LangChain sequence adds up what a streaming step yields before it
calls a step that does not stream, so `agent | step` hands the finished reply to `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from empathy_agent.chain import (
    CauseReading,
    EmotionReading,
    EmpathyReply,
    IntentionReading,
    Record,
    StrategyReading,
)
from empathy_agent.vocabulary import LayerName, RiskLevel

Later = TypeVar("Later")


class StreamEvent(Record):
    """Base of the events."""

    def __add__(self, other: Later) -> Later:
        """Return the later item."""
        return other


class RiskAssessed(StreamEvent):
    """The floor has read the message."""

    type: Literal["risk_assessed"] = "risk_assessed"
    level: RiskLevel


class LayerStarted(StreamEvent):
    """A layer is being written."""

    type: Literal["layer_started"] = "layer_started"
    layer: LayerName


class LayerFinished(StreamEvent):
    """A layer is there, screened by the rail."""

    type: Literal["layer_finished"] = "layer_finished"
    layer: LayerName
    reading: EmotionReading | CauseReading | IntentionReading | StrategyReading


class AnswerDelta(StreamEvent):
    """The next piece of the answer that has passed the rail."""

    type: Literal["answer_delta"] = "answer_delta"
    text: str


EmpathyEvent = RiskAssessed | LayerStarted | LayerFinished | AnswerDelta
EmpathyStreamItem = EmpathyEvent | EmpathyReply

NAMESPACE = "empathy."
"""What the type of our events starts with in LangGraph's `custom` stream, which hosts share."""

_ADAPTER: TypeAdapter[EmpathyEvent] = TypeAdapter(
    Annotated[EmpathyEvent, Field(discriminator="type")]
)


def to_custom(event: EmpathyEvent) -> dict[str, object]:
    """Return the event as it goes into LangGraph's `custom` stream."""
    return {**event.model_dump(mode="json"), "type": NAMESPACE + event.type}


def from_custom(data: object) -> EmpathyEvent | None:
    """Return our event out of a `custom` stream item, or None where it is somebody else's."""
    if not isinstance(data, Mapping) or not str(data.get("type")).startswith(NAMESPACE):
        return None
    return _ADAPTER.validate_python({**data, "type": data["type"].removeprefix(NAMESPACE)})
