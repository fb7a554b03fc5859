"""The whole chain in one free generation, as the paper rolls it out: the node opens it, the model writes the tags.

What the model wrote is read leniently. The answer streams through the same rail as in the graph; a chain that strayed
is reported in `warnings`.
"""

from __future__ import annotations

from empathy_agent.chain import Usage
from empathy_agent.segments import ANSWER_CLOSE, NEWLINE, THINK_OPEN, control
from empathy_agent.splitter import SplitEvent, TranscriptSplitter
from empathy_agent.transcript import parse_lenient
from empathy_agent.vocabulary import LayerName
from empathy_graph.answer import AnswerWriter
from empathy_graph.layers import announce_start, layer_state, prompt_segments
from empathy_graph.run import Run
from empathy_graph.state import LAYER_KEYS, EmpathyState, Json, LayerState
from empathy_graph.steps import Step, Steps


def single_pass(run: Run, state: EmpathyState) -> Steps[Json]:
    """Generate chain and answer in one request."""
    layers: dict[LayerName, LayerState | None] = dict.fromkeys(LAYER_KEYS)
    answer = AnswerWriter(run, state, layers)
    splitter = TranscriptSplitter()
    answer.start()

    def hear(events: list[SplitEvent]) -> None:
        for event in events:
            if event.part == "answer":
                if event.kind == "delta":
                    answer.feed(event.text)
            elif event.kind == "open":
                announce_start(run, event.part)

    budgets = run.settings.budgets.model_dump()
    request = run.request(
        state,
        [*prompt_segments(state), control(THINK_OPEN), NEWLINE],
        stop=ANSWER_CLOSE,
        max_new_tokens=sum(budgets.values()),
    )
    try:
        completion = yield Step(request, lambda text: hear(splitter.feed(text)))
    except BaseException as error:
        answer.fail(error)
        raise
    hear(splitter.close())
    parsed = parse_lenient(THINK_OPEN + completion.text + ANSWER_CLOSE)
    for name, text in parsed.layers.items():
        layers[name] = layer_state(run, state, name, text, usage=Usage())
    answer.layers = layers
    answer.end(completion)
    if not answer.text and parsed.answer and "answer: not closed" not in parsed.problems:
        answer.write(parsed.answer)
    answer.warnings += [f"single pass: {problem}" for problem in parsed.problems]
    return {**layers, **answer.finish()}
