"""Writing one layer: open its tag, let the model go on to the closing tag, keep text, ids and a typed reading.

The node writes the tags, so the structure holds whatever the model does. What the model wrote goes into the transcript
as it is (with its exact ids); what is shown goes through the output rail first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from empathy_agent.backends.quotes import Quotes
from empathy_agent.backends.requests import Completion, PartName
from empathy_agent.chain import RailHit, Usage
from empathy_agent.layer_text import LayerReading, read_layer
from empathy_agent.safety import screen
from empathy_agent.segments import (
    ALL_TAGS,
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    Segment,
    control,
    escape,
)
from empathy_agent.transcript import render_chain
from empathy_agent.vocabulary import Language, LayerName
from empathy_graph.events import LayerFinished, LayerStarted
from empathy_graph.run import Run
from empathy_graph.state import LAYER_KEYS, EmpathyState, LayerState
from empathy_graph.steps import Step, Steps

ATTEMPTS = 2
"""An empty or repeating part is tried once more."""
LEAST_TOKENS = 4
"""Tokens the second attempt must write: a model never trained on the chain may end its turn inside a part."""


QUOTING: frozenset[LayerName] = frozenset({"emotion", "cause"})
"""Layers that quote the post as evidence; the backend holds them to it where it can."""
QUOTE_MARKS: Mapping[Language, tuple[str, str]] = {"zh": ("「", "」"), "en": ('"', '"')}


@dataclass(frozen=True)
class Written:
    """One part of the transcript as the model wrote it."""

    segment: Segment
    finish: Literal["stop", "length"]
    usage: Usage


def prompt_segments(state: EmpathyState) -> list[Segment]:
    """Return the prompt the gate rendered."""
    return [Segment.from_json(data) for data in state["turn"]["segments"]]


def open_part(
    run: Run,
    state: EmpathyState,
    part: LayerName | Literal["answer"],
    layers: Mapping[LayerName, LayerState | None],
) -> list[Segment]:
    """Return the transcript up to and with the opening tag of `part`, the written `layers` before it."""
    content = {
        name: _content(run, layer)
        for name in LAYER_KEYS
        if (layer := layers.get(name)) and layer.get("text")
    }
    chain = render_chain(content, None)
    if part == "answer":
        return [*prompt_segments(state), *chain, control(ANSWER_OPEN)]
    return [*prompt_segments(state), *chain[:-2], control(LAYER_OPEN[part])]


def _content(run: Run, layer: LayerState) -> Segment:
    ids = layer.get("ids")
    fingerprint = layer.get("fingerprint")
    if ids is not None and fingerprint == run.backend.fingerprint:
        return Segment(layer["text"], ids=tuple(ids), fingerprint=fingerprint)
    if run.backend.capabilities.control_tags:
        return Segment(layer["text"])
    return Segment(escape(layer["text"], run.backend.special_strings))


def closing(tag: str) -> tuple[str, ...]:
    """Return what ends a part: its closing tag, and any other tag, since no part may hold one."""
    return (tag, *(other for other in ALL_TAGS if other != tag))


def write_part(
    run: Run,
    state: EmpathyState,
    part: PartName,
    segments: Sequence[Segment],
    *,
    stop: tuple[str, ...],
    budget: int,
    quotes: Quotes | None = None,
) -> Steps[Written]:
    """Let the model continue `segments` until `stop`; try an empty or repeating text once more."""
    usage = Usage()
    completion: Completion | None = None
    for attempt in range(ATTEMPTS):
        completion = yield Step(
            run.request(
                state,
                part,
                segments,
                stop=stop,
                max_new_tokens=budget,
                min_new_tokens=min(LEAST_TOKENS, budget) if attempt else 0,
                attempt=attempt,
                quotes=quotes,
            )
        )
        usage = usage + completion.usage
        if completion.text.strip() and not is_repeating(completion.text):
            break
    assert completion is not None  # ATTEMPTS is positive
    finish: Literal["stop", "length"] = "length" if completion.finish == "length" else "stop"
    return Written(completion.segment, finish, usage)


def _evidence(state: EmpathyState) -> Quotes:
    turn = state["turn"]
    return Quotes(turn["post"], QUOTE_MARKS[turn["lang"]])


def is_repeating(text: str, *, gram: int = 6, least: int = 48) -> bool:
    """Return whether fewer than half of the text's character `gram`s are different ones."""
    grams = [text[i : i + gram] for i in range(len(text) - gram + 1)]
    return len(text) >= least and len(set(grams)) * 2 < len(grams)


def write_layer(
    run: Run,
    state: EmpathyState,
    name: LayerName,
    layers: Mapping[LayerName, LayerState | None],
    lead: str = "",
) -> Steps[LayerState]:
    """Write layer `name` and announce it.

    Args:
        run: This call.
        state: The state with the prompt.
        name: Which layer.
        layers: The layers before it.
        lead: Words the node itself begins the layer with.
    """
    announce_start(run, name)
    segments = open_part(run, state, name, layers)
    if lead:
        segments.append(Segment(lead))
    written = yield from write_part(
        run,
        state,
        name,
        segments,
        stop=closing(LAYER_CLOSE[name]),
        budget=getattr(run.settings.budgets, name),
        quotes=_evidence(state) if name in QUOTING else None,
    )
    layer = layer_state(
        run, state, name, lead + written.segment.text, finish=written.finish, usage=written.usage
    )
    if not lead:
        layer["ids"] = list(written.segment.ids or ())
        layer["fingerprint"] = written.segment.fingerprint
    return layer


def layer_state(
    run: Run,
    state: EmpathyState,
    name: LayerName,
    text: str,
    *,
    finish: Literal["stop", "length"] = "stop",
    usage: Usage | None = None,
    reading: LayerReading | None = None,
) -> LayerState:
    """Return the state of a layer with this text, screened and read, and announce it."""
    turn = state["turn"]
    shown, hits = screen(text, turn["lang"], name)
    read = reading or read_layer(name, shown.strip(), post=turn["post"], finish=finish)
    if run.settings.show_chain:
        run.emit(LayerFinished(layer=name, reading=read))
    return LayerState(
        text=text,
        ids=None,
        fingerprint=None,
        reading=read.model_dump(mode="json"),
        rail=[hit.model_dump(mode="json") for hit in hits],
        usage=(usage or Usage()).model_dump(),
        warnings=_warnings(name, text, finish),
    )


def _warnings(name: LayerName, text: str, finish: Literal["stop", "length"]) -> list[str]:
    notes = [f"layer {name!r} reached its token budget"] if finish == "length" else []
    return notes if text.strip() else [*notes, f"layer {name!r} is empty"]


def announce_start(run: Run, name: LayerName) -> None:
    """Tell a host that shows the chain that a layer has begun."""
    if run.settings.show_chain:
        run.emit(LayerStarted(layer=name))


def rail_hits(layers: Sequence[LayerState | None]) -> list[RailHit]:
    """Return what the rail did to the shown layers."""
    return [
        RailHit.model_validate(hit) for layer in layers if layer for hit in layer.get("rail", [])
    ]
