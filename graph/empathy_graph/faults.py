"""What a fault leads to: a reply that needs no model, or an error that names the node and quotes nobody."""

from __future__ import annotations

from langgraph.errors import GraphBubbleUp

from empathy_agent.errors import (
    BackendCancelled,
    ConfigError,
    ContextOverflow,
    EmpathyAgentError,
    NodeRunError,
    PluginContractError,
)
from empathy_agent.vocabulary import RISK_ORDER, RiskLevel
from empathy_graph.run import Run
from empathy_graph.state import NodeName

ALWAYS_RAISED = (ConfigError, ContextOverflow, BackendCancelled, PluginContractError, GraphBubbleUp)
"""What no fallback may hide: the input or the set-up is wrong, or the caller cancelled."""


def is_raised(run: Run, risk: RiskLevel, error: Exception) -> bool:
    """Return whether `error` reaches the caller; from risk `elevated` up the turn is answered."""
    if isinstance(error, ALWAYS_RAISED):
        return True
    at_risk = RISK_ORDER.index(risk) >= RISK_ORDER.index("elevated")
    return run.settings.on_fault == "raise" and not at_risk


def attributed(error: Exception, node: NodeName) -> Exception:
    """Return what is raised for `error`: a foreign one is told by its type alone.

    Its text and its chain may quote the person, so raise the result outside the handler.
    """
    if isinstance(error, (EmpathyAgentError, GraphBubbleUp)):
        return error
    return NodeRunError(f"node {node!r} failed with {type(error).__name__}", node=node)


def fault_note(node: NodeName, kind: str) -> str:
    """Return the warning of a reply that stands in for a failed node's."""
    return f"node {node!r} failed with {kind}; a fixed reply stands in"
