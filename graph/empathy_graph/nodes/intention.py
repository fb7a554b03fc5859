"""Layer 3: the support that is wanted, read by the model or declared by the host or the person."""

from __future__ import annotations

from empathy_agent.chain import IntentionReading
from empathy_agent.layer_text import write_intention
from empathy_agent.vocabulary import Language, LayerName
from empathy_graph.layers import announce_start, layer_state, write_layer
from empathy_graph.run import Run
from empathy_graph.state import EmpathyState, Json, LayerState
from empathy_graph.steps import Steps

DECLARED: dict[Language, str] = {
    "zh": "这是对方自己选的，照此回应",
    "en": "This was chosen by the person, so the reply keeps to it",
}


def intention(run: Run, state: EmpathyState) -> Steps[Json]:
    """Write the intention layer; a declared support needs no model."""
    support = run.settings.support
    if support is None:
        before: dict[LayerName, LayerState | None] = {
            "emotion": state.get("emotion"),
            "cause": state.get("cause"),
        }
        return {"intention": (yield from write_layer(run, state, "intention", before))}
    announce_start(run, "intention")
    lang = state["turn"]["lang"]
    text = write_intention(support, (), DECLARED[lang], lang)
    reading = IntentionReading(text=text, primary=support, declared=True)
    return {"intention": layer_state(run, state, "intention", text, reading=reading)}
