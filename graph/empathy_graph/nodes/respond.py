"""Layer 4 and the answer: decide how to meet the seeker, then say it, through the rail, sentence by sentence.

A declared support is obeyed here: layer 4 begins with the acts that serve it, and under listening, validation and
understanding the rail also drops unasked advice. From risk `elevated` up the whole answer is held back until it has
passed, and real resources follow it.
"""

from __future__ import annotations

from collections.abc import Mapping

from empathy_agent.layer_text import write_strategy
from empathy_agent.safety import strategy_hint
from empathy_agent.segments import ANSWER_CLOSE
from empathy_agent.vocabulary import Act, LayerName, Support
from empathy_graph.answer import AnswerWriter, effective_risk
from empathy_graph.faults import is_raised
from empathy_graph.layers import ATTEMPTS, LEAST_TOKENS, closing, open_part, write_layer
from empathy_graph.run import Run
from empathy_graph.state import EmpathyState, Json, LayerState
from empathy_graph.steps import Step, Steps

ACTS_FOR: Mapping[Support, tuple[Act, ...]] = {
    "listening": ("naming", "respecting", "exploring"),
    "validation": ("naming", "respecting", "supporting"),
    "understanding": ("naming", "understanding", "supporting"),
    "advice": ("naming", "understanding", "suggesting"),
    "information": ("naming", "understanding", "informing"),
}
"""The acts a declared support asks for."""


def layers_of(state: EmpathyState) -> dict[LayerName, LayerState | None]:
    """Return the three layers that nodes before this one wrote."""
    return {
        "emotion": state.get("emotion"),
        "cause": state.get("cause"),
        "intention": state.get("intention"),
    }


def respond(run: Run, state: EmpathyState) -> Steps[Json]:
    """Write the strategy layer and the answer, and finish the reply."""
    layers = layers_of(state)
    lang, risk = state["turn"]["lang"], effective_risk(state)
    support = run.settings.support
    lead = write_strategy(ACTS_FOR[support], None, lang) if support else ""
    hint = strategy_hint(risk, lang) or ""
    strategy = yield from write_layer(run, state, "strategy", layers, lead=lead + hint)
    layers["strategy"] = strategy
    answer = AnswerWriter(run, state, layers)
    yield from write_answer(run, state, layers, answer)
    return {"strategy": strategy, **answer.finish()}


def write_answer(
    run: Run,
    state: EmpathyState,
    layers: Mapping[LayerName, LayerState | None],
    answer: AnswerWriter,
) -> Steps[None]:
    """Let the model write the answer into `answer`, once more if nothing of it was left to say."""
    segments = open_part(run, state, "answer", layers)
    answer.start()
    for attempt in range(ATTEMPTS):
        request = run.request(
            state,
            "answer",
            segments,
            stop=closing(ANSWER_CLOSE),
            max_new_tokens=run.settings.budgets.answer,
            min_new_tokens=LEAST_TOKENS if attempt else 0,
            attempt=attempt,
        )
        try:
            completion = yield Step(request, answer.feed)
        except BaseException as error:
            if not isinstance(error, Exception) or is_raised(run, answer.risk, error):
                answer.fail(error)
                raise
            answer.break_off("respond", type(error).__name__)
            return
        answer.end(completion)
        if answer.text.strip():
            break
