"""From a node to a LangGraph node: both drivers, ownership of keys, and what a fault leads to.

Our own nodes are `Steps` generators. A host's node is any callable `(state, runtime)` (sync or async) or Runnable that
returns its one layer; it is checked, its layer is normalised and its answer goes through the same rail. A fault never
loses the turn: with `on_fault="safe_reply"` a failed layer is left out and a failed answer becomes a safe reply.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import get_runtime
from pydantic import ValidationError

from empathy_agent.chain import (
    CauseReading,
    EmotionReading,
    IntentionReading,
    Reading,
    StrategyReading,
)
from empathy_agent.errors import PluginContractError
from empathy_agent.layer_text import LayerReading
from empathy_agent.vocabulary import LayerName
from empathy_graph.answer import AnswerWriter, effective_risk
from empathy_graph.faults import attributed, is_raised
from empathy_graph.layers import announce_start, layer_state
from empathy_graph.nodes.respond import layers_of
from empathy_graph.run import Engine, Run, open_run
from empathy_graph.state import (
    LAYER_KEYS,
    OWNED_KEYS,
    EmpathyState,
    Json,
    LayerState,
    NodeName,
)
from empathy_graph.steps import Steps, adrive, drive
from empathy_graph.untraced import Untraced

Core = Callable[[Run, EmpathyState], Steps[Json]]
OFF_LOOP: frozenset[NodeName] = frozenset({"gate"})
"""Nodes that compute without a model: tokenising a very long post would hold up the event loop."""

_READINGS: Mapping[LayerName, type[Reading]] = {
    "emotion": EmotionReading,
    "cause": CauseReading,
    "intention": IntentionReading,
    "strategy": StrategyReading,
}


def own_node(engine: Engine, name: NodeName, core: Core) -> Runnable[EmpathyState, Json]:
    """Return a LangGraph node that runs one of our generators."""

    def run(state: EmpathyState, config: RunnableConfig) -> Json:
        opened = open_run(engine, config)
        try:
            return drive(core(opened, state), engine.backend)
        except Exception as error:
            caught = error
        return _fallback(opened, state, name, caught)

    async def arun(state: EmpathyState, config: RunnableConfig) -> Json:
        opened = open_run(engine, config)
        try:
            if name in OFF_LOOP:
                return await asyncio.to_thread(drive, core(opened, state), engine.backend)
            return await adrive(core(opened, state), engine.backend)
        except Exception as error:
            caught = error
        return _fallback(opened, state, name, caught)

    return Untraced(run, arun, name=name)


def host_node(engine: Engine, name: NodeName, node: object) -> Runnable[EmpathyState, Json]:
    """Return a LangGraph node that runs a host's or plugin's node for `name`."""

    def run(state: EmpathyState, config: RunnableConfig) -> Json:
        opened = open_run(engine, config)
        _announce(opened, name)
        try:
            return _accept(opened, state, name, _call(node, state, config))
        except Exception as error:
            caught = error
        return _fallback(opened, state, name, caught)

    async def arun(state: EmpathyState, config: RunnableConfig) -> Json:
        opened = open_run(engine, config)
        _announce(opened, name)
        try:
            return _accept(opened, state, name, await _acall(node, state, config))
        except Exception as error:
            caught = error
        return _fallback(opened, state, name, caught)

    return Untraced(run, arun, name=name)


def _announce(run: Run, name: NodeName) -> None:
    if name in LAYER_KEYS:
        announce_start(run, name)


def _call(node: object, state: EmpathyState, config: RunnableConfig) -> object:
    if isinstance(node, Runnable):
        return node.invoke(dict(state), config)
    result = cast("Callable[..., object]", node)(state, get_runtime())
    if inspect.iscoroutine(result):
        result.close()
        raise PluginContractError(
            "this node is async only; call the agent with 'ainvoke' or 'astream', or give it a sync form"
        )
    return result


async def _acall(node: object, state: EmpathyState, config: RunnableConfig) -> object:
    if isinstance(node, Runnable):
        return await node.ainvoke(dict(state), config)
    function = cast("Callable[..., object]", node)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    ):
        return await cast("Awaitable[object]", function(state, get_runtime()))
    result = await asyncio.to_thread(function, state, get_runtime())
    return await result if inspect.isawaitable(result) else result


def _accept(run: Run, state: EmpathyState, name: NodeName, update: object) -> Json:
    """Check what a host's node returned and complete it into a state update."""
    if not isinstance(update, Mapping):
        raise PluginContractError(
            f"the {name!r} node must return a mapping, not {type(update).__name__}"
        )
    allowed = {"strategy", "answer"} if name == "respond" else {name}
    foreign = sorted(str(key) for key in update if key not in allowed)
    if foreign:
        raise PluginContractError(
            f"the {name!r} node may write {', '.join(sorted(allowed))}, not {', '.join(foreign)}"
        )
    if name == "respond":
        return _accept_answer(run, state, update)
    if name not in update:
        raise PluginContractError(f"the {name!r} node returned nothing under {name!r}")
    return {name: _accept_layer(run, state, cast("LayerName", name), update[name])}


def _accept_layer(run: Run, state: EmpathyState, name: LayerName, value: object) -> LayerState:
    if isinstance(value, str):
        return layer_state(run, state, name, value)
    try:
        reading = _READINGS[name].model_validate(value)
    except ValidationError as error:
        fields = ", ".join(".".join(str(p) for p in e["loc"]) or name for e in error.errors())
        message = f"layer {name!r} must be a text or a {_READINGS[name].__name__}; look at {fields}"
    else:
        return layer_state(run, state, name, reading.text, reading=cast("LayerReading", reading))
    raise PluginContractError(message)


def _accept_answer(run: Run, state: EmpathyState, update: Mapping[str, object]) -> Json:
    text = update.get("answer")
    if not isinstance(text, str):
        raise PluginContractError("the 'respond' node must return a text under 'answer'")
    layers = layers_of(state)
    strategy = update.get("strategy")
    if strategy is not None:
        layers["strategy"] = _accept_layer(run, state, "strategy", strategy)
    answer = AnswerWriter(run, state, layers)
    answer.start()
    answer.write(text)
    return {"strategy": layers.get("strategy"), **answer.finish()}


def _fallback(run: Run, state: EmpathyState, name: NodeName, error: Exception) -> Json:
    """Return what the state gets instead of a failed node's update, or raise."""
    # Raised outside every handler, so that not even the context of the exception quotes the person.
    if name == "gate" or is_raised(run, effective_risk(state), error):
        raise attributed(error, name)
    kind = type(error).__name__
    if name in LAYER_KEYS:
        return {name: LayerState(text="", fault=kind, warnings=[])}
    answer = AnswerWriter(run, state, layers_of(state))
    answer.start()
    answer.break_off(name, kind)
    update = answer.finish()
    return {key: value for key, value in update.items() if key in OWNED_KEYS[name]}
