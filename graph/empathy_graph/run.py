"""What a node works with: the backend, the settings of this call, and where its events go.

`Engine` is fixed when the graph is built (handles never enter the state). `Run` adds what one call brings: settings
merged in the documented order, the cancel event, the stream writer and the callbacks. Neither is serialised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.runtime import get_runtime

from empathy_agent.backends.base import Backend
from empathy_agent.backends.quotes import Quotes
from empathy_agent.backends.requests import Guide, PartName, Request
from empathy_agent.config import Sampling, Settings, merge_settings
from empathy_agent.safety import RiskFinding, assess_history
from empathy_agent.segments import Segment
from empathy_graph.events import EmpathyEvent, to_custom
from empathy_graph.prompts import Prompts, load_prompts
from empathy_graph.state import EmpathyState

CANCEL_KEY = "_empathy_cancel"
"""Key in `configurable` of a `threading.Event` that ends the run; set by our own faces."""
LAST_PARTS: frozenset[PartName] = frozenset({"answer", "single_pass"})
"""Parts after which a turn asks the model for nothing more."""


class Floor(Protocol):
    """The risk floor: a pure function of the seeker's messages, oldest first."""

    def __call__(self, turns: Sequence[str], /) -> RiskFinding:
        """Return the level and the ids of the rules that fired."""
        ...


@dataclass(frozen=True)
class Engine:
    """What the graph is built over."""

    backend: Backend
    settings: Settings = field(default_factory=Settings)
    prompts: Prompts = field(default_factory=load_prompts)
    floor: Floor = assess_history


@dataclass(frozen=True)
class Run:
    """One node's view of one call."""

    engine: Engine
    settings: Settings
    config: RunnableConfig
    cancel: threading.Event | None
    write: Callable[[object], None]

    @property
    def backend(self) -> Backend:
        """The model."""
        return self.engine.backend

    def emit(self, event: EmpathyEvent) -> None:
        """Send an event into LangGraph's `custom` stream."""
        self.write(to_custom(event))

    def request(
        self,
        state: EmpathyState,
        part: PartName,
        segments: Sequence[Segment],
        *,
        stop: tuple[str, ...],
        max_new_tokens: int,
        min_new_tokens: int = 0,
        attempt: int = 0,
        quotes: Quotes | None = None,
    ) -> Request:
        """Build a request for `part`; a second attempt draws with another seed."""
        turn = state["turn"]
        return Request(
            segments=tuple(segments),
            stop=stop,
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens,
            sampling=_reseeded(self.settings.sampling, attempt),
            deadline=turn["deadline"],
            cancel=self.cancel,
            quotes=quotes,
            guide=Guide(part, turn["lang"], self.engine.prompts.instructions(turn["lang"])),
            session=turn["session"],
            keep=part not in LAST_PARTS,
        )


def _reseeded(sampling: Sampling, attempt: int) -> Sampling:
    if not attempt:
        return sampling
    update: dict[str, object] = {"temperature": max(sampling.temperature, 0.7)}
    if sampling.seed is not None:
        update["seed"] = (sampling.seed + attempt) % 2**32
    return sampling.model_copy(update=update)


def open_run(engine: Engine, config: RunnableConfig) -> Run:
    """Collect what this call brings, from inside a running node.

    Raises:
        ConfigError: A setting in `configurable` is unknown or out of range.
    """
    configurable = config.get("configurable") or {}
    context = get_runtime().context
    # As a subgraph we see the host's own context object: ours may be it, or an attribute of it.
    ours = context if isinstance(context, Settings) else getattr(context, "empathy", None)
    cancel = configurable.get(CANCEL_KEY)
    return Run(
        engine=engine,
        settings=merge_settings(
            engine.settings, configurable, ours if isinstance(ours, Settings) else None
        ),
        config=config,
        cancel=cancel if isinstance(cancel, threading.Event) else None,
        write=get_stream_writer(),
    )
