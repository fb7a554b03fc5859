"""The whole chain in one free generation, as the paper rolls it out: the node opens it, the model writes the tags.

What the model wrote is read leniently. The answer streams through the same rail as in the graph; a chain that strayed
is reported in `warnings`.
"""

from __future__ import annotations

from empathy_agent.segments import ANSWER_CLOSE, NEWLINE, THINK_OPEN, control
from empathy_agent.splitter import SplitEvent, TranscriptSplitter
from empathy_agent.transcript import parse_lenient
from empathy_agent.vocabulary import LayerName
from empathy_graph.answer import AnswerWriter
from empathy_graph.faults import is_raised
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

    written: dict[LayerName, str] = {}

    def hear(events: list[SplitEvent]) -> None:
        for event in events:
            if event.part == "answer":
                if event.kind == "delta":
                    answer.feed(event.text)
                continue
            if event.part not in written:
                announce_start(run, event.part)
            written[event.part] = written.get(event.part, "") + event.text
            text = written[event.part].strip()
            if event.kind == "close" and text and layers[event.part] is None:
                layers[event.part] = layer_state(run, state, event.part, text)

    budgets = run.settings.budgets.model_dump()
    request = run.request(
        state,
        "single_pass",
        [*prompt_segments(state), control(THINK_OPEN), NEWLINE],
        stop=(ANSWER_CLOSE,),
        max_new_tokens=sum(budgets.values()),
    )
    try:
        completion = yield Step(request, lambda text: hear(splitter.feed(text)))
    except BaseException as error:
        if not isinstance(error, Exception) or is_raised(run, answer.risk, error):
            answer.fail(error)
            raise
        answer.break_off("single_pass", type(error).__name__)
        return answer.finish()
    hear(splitter.close())
    parsed = parse_lenient(THINK_OPEN + completion.text + ANSWER_CLOSE)
    answer.layers = layers
    answer.end(completion)
    answer.warnings += [f"single pass: {problem}" for problem in parsed.problems]
    update: Json = dict(layers.items())
    return update | answer.finish()
