"""What passes through the contract between the graph and a model: messages in, a request, deltas, a completion."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from empathy_agent.backends.quotes import Quotes
from empathy_agent.chain import Usage
from empathy_agent.config import Sampling
from empathy_agent.segments import Segment
from empathy_agent.vocabulary import Language, LayerName

Role = Literal["system", "user", "assistant"]
PartName = LayerName | Literal["answer", "single_pass"]
"""A part of the transcript that a node asks for; `"single_pass"` is all of them."""


@dataclass(frozen=True)
class Message:
    """One turn of the conversation, before any template."""

    role: Role
    content: str
    trusted: bool = False
    """True only for our own prompts, which may name the tags; `fit` escapes all other contents."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can promise; shown by `doctor`, read by the conformance kit."""

    ids: bool
    """Token ids are returned, and taken back without tokenising again."""
    exact_borders: bool
    """Segments are tokenised apart, so a border is never merged away."""
    prefix_cache: bool
    """A request that continues an earlier one computes only what is new."""
    rollback: bool
    """The cache can be set back; where it cannot, a changed prefix is computed again."""
    chat_template: Literal["model", "plain"]
    """Whether the model's own chat template is used, or the documented plain one."""
    control_tags: bool
    """The tags are CONTROL tokens of this vocabulary: text cannot forge them, stops are exact."""
    parallel_sequences: int
    """How many requests keep their cached prefix side by side."""
    languages: tuple[str, ...] | None = None
    """Languages the model was made for; None where the model does not say."""
    demonstration: bool = False
    """The model says of itself that it only demonstrates: nobody at risk is to be answered by it."""
    guided_quotes: bool = False
    """`Request.quotes` is obeyed: a quote can only be words of its source."""
    continues: bool = True
    """Any text can be continued; False for chat models, which are asked for each part in words."""
    min_tokens: bool = True
    """`Request.min_new_tokens` is obeyed."""
    batch_invariant: bool = True
    """The same request gives the same text whatever else runs; False where rounding may differ."""


@dataclass(frozen=True)
class Guide:
    """What a model that is asked in words is told; backends that continue a text ignore it."""

    part: PartName
    """What is asked for now."""
    lang: Language
    instructions: Mapping[PartName, str]
    """How each part is written, in that language; `"single_pass"` is not among them."""


@dataclass(frozen=True)
class Request:
    """One continuation to compute."""

    segments: tuple[Segment, ...]
    stop: tuple[str, ...] = ()
    """The completion ends before the first of these; none of them is ever in its text."""
    max_new_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    deadline: float | None = None
    """`time.monotonic()` seconds after which the request ends with `BackendTimeout`."""
    cancel: threading.Event | None = None
    """Set by the caller to end the request with `BackendCancelled`; never set by a backend."""
    quotes: Quotes | None = None
    """Hold what stands between these marks to a source, where `Capabilities.guided_quotes`."""
    min_new_tokens: int = 0
    """Before this count, no end token and no stop string that is one control token is sampled."""
    guide: Guide | None = None
    """What to tell a model whose `Capabilities.continues` is False."""
    session: str | None = None
    """Names the requests that follow each other, such as the layers of one chain; never a person."""
    keep: bool = False
    """Another request of this session follows at once: its cache is held for it a short while."""

    def __post_init__(self) -> None:
        """Refuse counts that make no sense."""
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")


@dataclass(frozen=True)
class Delta:
    """The next piece of a completion: whole characters, and the ids that end inside it."""

    text: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished continuation; `text` and `ids` are the sums of its deltas."""

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length", "eos"]
    usage: Usage
    fingerprint: str

    @property
    def segment(self) -> Segment:
        """The completion as a content segment, to be continued from without tokenising it again."""
        return Segment(self.text, ids=self.ids, fingerprint=self.fingerprint)


Event = Delta | Completion
Sink = Callable[[Delta | Completion | BaseException], None]
