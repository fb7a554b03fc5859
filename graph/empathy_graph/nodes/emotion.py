"""Layer 1: what the seeker feels, and in which situation."""

from __future__ import annotations

from empathy_graph.layers import write_layer
from empathy_graph.run import Run
from empathy_graph.state import EmpathyState, Json
from empathy_graph.steps import Steps


def emotion(run: Run, state: EmpathyState) -> Steps[Json]:
    """Write the emotion layer."""
    return {"emotion": (yield from write_layer(run, state, "emotion", {}))}
