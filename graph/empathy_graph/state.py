"""The state of the graph: JSON values only, `messages` the one exception.

Each key has one owner, the node that writes it (`OWNED_KEYS`; a test checks it). Pydantic validates inside the nodes
and what is kept is its JSON, so that any checkpointer can store a turn and any version can read it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from empathy_agent.vocabulary import Language, LayerName, RiskLevel

Json = dict[str, Any]
NodeName = Literal["gate", "emotion", "cause", "intention", "respond", "single_pass", "fixed_reply"]


class TurnState(TypedDict):
    """What the gate prepares for the nodes of this turn; never checkpointed."""

    lang: Language
    """The language of prompts and of our own words."""
    post: str
    """The seeker's last message, whole."""
    segments: list[Json]
    """The rendered prompt as `Segment.to_json`, up to the opening of the assistant's turn."""
    warnings: list[str]
    """What was cut to make it fit."""
    session: str
    """Names the conversation to the backend: random, or made from LangGraph's thread id."""
    deadline: float | None
    """`time.monotonic()` seconds of this process at which the request ends."""
    supported: bool
    """Whether the model was made for `lang`."""
    fault: str | None
    """The error type, where the prompt could not be rendered and a fixed reply stands in."""


class RiskState(TypedDict):
    """The risk level of the conversation as the floor sees it."""

    level: RiskLevel
    rules: list[str]
    """Ids of the rules that fired."""
    turns: int
    """Seeker's turns the level was read from; if a host forgets turns, the level does not fall."""


class LayerState(TypedDict, total=False):
    """One layer of the chain."""

    text: str
    """As it stands in the transcript, without tags."""
    ids: list[int] | None
    """Exact token ids of `text`, for the backend of `fingerprint`."""
    fingerprint: str | None
    reading: Json
    """The typed reading, screened by the rail, as JSON."""
    rail: list[Json]
    """What the rail did to the shown text."""
    usage: Json
    warnings: list[str]
    fault: str
    """The error type, where the node failed and the layer was left out."""


class EmpathyInput(TypedDict):
    """What a host passes in."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation; the last message is the seeker's."""


class EmpathyOutput(TypedDict):
    """What a host gets back."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation with the reply appended."""
    reply: Json
    """`EmpathyReply` as JSON."""


class EmpathyState(TypedDict, total=False):
    """All channels."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation."""
    turn: Annotated[TurnState, UntrackedValue]
    """This turn's prompt and settings."""
    risk: RiskState
    """The floor's level."""
    emotion: LayerState | None
    """Layer 1."""
    cause: LayerState | None
    """Layer 2."""
    intention: LayerState | None
    """Layer 3."""
    strategy: LayerState | None
    """Layer 4."""
    reply: Json | None
    """The finished reply."""


LAYER_KEYS: Final[tuple[LayerName, ...]] = ("emotion", "cause", "intention", "strategy")
OWNED_KEYS: Final[Mapping[NodeName, frozenset[str]]] = MappingProxyType(
    {
        # The gate opens the turn, so it also clears what the last turn left in the layers.
        "gate": frozenset({"turn", "risk", *LAYER_KEYS, "reply"}),
        "emotion": frozenset({"emotion"}),
        "cause": frozenset({"cause"}),
        "intention": frozenset({"intention"}),
        "respond": frozenset({"strategy", "reply", "messages"}),
        "single_pass": frozenset({*LAYER_KEYS, "reply", "messages"}),
        "fixed_reply": frozenset({"reply", "messages"}),
    }
)
"""Which keys each node may write."""
