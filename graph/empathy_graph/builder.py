"""Build the graph: gate -> emotion -> cause -> intention -> respond, with two ways off that line.

From the gate, a message at risk `imminent` (or in a language the model was not made for) goes to `fixed_reply`, where
no model writes; `mode="single_pass"` goes to `single_pass`. Layer 1 may raise the risk, so the line branches once more
behind it. The graph has no checkpointer of its own: as a subgraph it takes part in the host's or runs stateless.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer, TracePolicy, omit_payload

from empathy_agent.backends.base import Backend
from empathy_agent.config import Settings
from empathy_agent.errors import ConfigError
from empathy_agent.models.resolver import open_backend
from empathy_agent.registry import resolve_node
from empathy_agent.safety import load_regions
from empathy_graph.answer import must_not_generate
from empathy_graph.nodes.cause import cause
from empathy_graph.nodes.emotion import emotion
from empathy_graph.nodes.fixed_reply import fixed_reply
from empathy_graph.nodes.gate import gate
from empathy_graph.nodes.intention import intention
from empathy_graph.nodes.respond import respond
from empathy_graph.nodes.single_pass import single_pass
from empathy_graph.prompts import Prompts, load_prompts
from empathy_graph.run import Engine, open_run
from empathy_graph.state import EmpathyInput, EmpathyOutput, EmpathyState, NodeName
from empathy_graph.untraced import Untraced
from empathy_graph.wiring import Core, host_node, own_node

OWN: Mapping[NodeName, Core] = {
    "gate": gate,
    "emotion": emotion,
    "cause": cause,
    "intention": intention,
    "respond": respond,
    "single_pass": single_pass,
    "fixed_reply": fixed_reply,
}
SWAPPABLE: tuple[NodeName, ...] = ("emotion", "cause", "intention", "respond")
"""The nodes a host may replace; the gate and the fixed replies are the safety floor."""

ModelLike = str | os.PathLike[str] | BaseChatModel | Backend
"""What a face takes as its model."""
EmpathyGraph = CompiledStateGraph[EmpathyState, Settings, EmpathyInput, EmpathyOutput]


def build_graph(
    model: ModelLike = "tiny",
    *,
    settings: Settings | None = None,
    nodes: Mapping[str, object] | None = None,
    prompts: Prompts | None = None,
    checkpointer: Checkpointer = None,
) -> EmpathyGraph:
    """Compile the graph over a model.

    Args:
        model: A backend, or what `open_backend` takes: `"tiny"`, a path, `"hf:org/repo"`, the
            address of an endpoint, a LangChain chat model (see `empathy_agent.models.specs`).
        settings: Defaults of every call.
        nodes: Own nodes by role (`emotion`, `cause`, `intention`, `respond`): an object,
            `"module:attr"`, or a plugin's name.
        prompts: Prompts of your own for models that were not trained on the chain.
        checkpointer: As in LangGraph; None takes part in a host's, False is stateless.

    Raises:
        ConfigError: A role or a model is unknown.
        PluginError: A node cannot be found, is claimed twice or breaks its contract.
    """
    backend = model if isinstance(model, Backend) else open_backend(model)
    load_regions().get((settings or Settings()).region)
    engine = Engine(backend, settings or Settings(), prompts or load_prompts())
    chosen = {role: resolve_node(spec, _role(role)) for role, spec in (nodes or {}).items()}
    graph: StateGraph[EmpathyState, Settings, EmpathyInput, EmpathyOutput] = StateGraph(
        EmpathyState,
        context_schema=Settings,
        input_schema=EmpathyInput,
        output_schema=EmpathyOutput,
    )
    quiet = TracePolicy(process_inputs=omit_payload, process_outputs=omit_payload)
    for name, core in OWN.items():
        node: Any = (
            host_node(engine, name, chosen[name])
            if name in chosen
            else own_node(engine, name, core)
        )
        graph.add_node(name, node, trace_policy=None if engine.settings.trace_content else quiet)
    _connect(graph, engine)
    return graph.compile(checkpointer=checkpointer, name="empathy")


def _role(role: str) -> str:
    if role not in SWAPPABLE:
        near = get_close_matches(role, SWAPPABLE, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"possible: {', '.join(SWAPPABLE)}"
        raise ConfigError(f"no node {role!r} can be replaced; {hint}")
    return role


def _connect(
    graph: StateGraph[EmpathyState, Settings, EmpathyInput, EmpathyOutput], engine: Engine
) -> None:
    def after_gate(state: EmpathyState, config: RunnableConfig) -> NodeName:
        turn = state["turn"]
        if turn["fault"] or not turn["supported"] or must_not_generate(engine, state):
            return "fixed_reply"
        single = open_run(engine, config).settings.mode == "single_pass"
        return "single_pass" if single else "emotion"

    def after_emotion(state: EmpathyState, config: RunnableConfig) -> NodeName:
        return "fixed_reply" if must_not_generate(engine, state) else "cause"

    graph.add_edge(START, "gate")
    ends = ["fixed_reply", "single_pass", "emotion"]
    graph.add_conditional_edges("gate", Untraced(after_gate, name="after_gate"), ends)
    ends = ["fixed_reply", "cause"]
    graph.add_conditional_edges("emotion", Untraced(after_emotion, name="after_emotion"), ends)
    graph.add_edge("cause", "intention")
    graph.add_edge("intention", "respond")
    for last in ("respond", "single_pass", "fixed_reply"):
        graph.add_edge(last, END)
