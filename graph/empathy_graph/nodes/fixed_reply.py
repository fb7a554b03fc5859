"""Replies that no model writes: the crisis reply, and the notice that a model does not speak the language."""

from __future__ import annotations

from collections.abc import Mapping

from empathy_agent.safety import care_reply, crisis_reply, resource_line
from empathy_agent.vocabulary import Language
from empathy_graph.answer import AnswerWriter, at_least
from empathy_graph.nodes.respond import layers_of
from empathy_graph.run import Run
from empathy_graph.state import EmpathyState, Json
from empathy_graph.steps import Steps

UNSUPPORTED: Mapping[Language, str] = {
    "zh": "现在装的模型不会中文，没法好好回应你写的话。请使用这套程序的人换一个支持中文的模型。",
    "en": (
        "The model installed here was made for Chinese only and cannot answer in English. "
        "Whoever runs this can point it at a model that speaks English."
    ),
}


def fixed_reply(run: Run, state: EmpathyState) -> Steps[Json]:
    """Answer without a model."""
    answer = AnswerWriter(run, state, layers_of(state))
    answer.start()
    region = run.settings.region
    if answer.risk == "imminent":
        answer.say(crisis_reply(answer.lang, region), "crisis")
    elif fault := state["turn"]["fault"]:
        answer.break_off("gate", fault)
    elif at_least(answer.risk, "elevated"):
        answer.say(care_reply(answer.lang, region), "crisis")
        answer.warnings.append(
            "the model must not answer a person at risk; a fixed reply stands in"
        )
    else:
        notice = UNSUPPORTED[answer.lang]
        if at_least(answer.risk, "watch"):
            notice += "\n\n" + resource_line(answer.lang, region)
        answer.say(notice, "safe_reply")
        answer.warnings.append(f"the model does not support {answer.lang!r}; nothing was generated")
    return answer.finish()
    yield  # asks no model, yet it is a generator like every node
