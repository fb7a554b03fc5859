"""Layer 2: what led to it, and the beliefs that colour it."""

from __future__ import annotations

from empathy_graph.layers import write_layer
from empathy_graph.run import Run
from empathy_graph.state import EmpathyState, Json
from empathy_graph.steps import Steps


def cause(run: Run, state: EmpathyState) -> Steps[Json]:
    """Write the cause layer."""
    return {
        "cause": (yield from write_layer(run, state, "cause", {"emotion": state.get("emotion")}))
    }
