"""From the answer's tokens to the finished reply: the rail in the stream, the callbacks, the record.

`AnswerWriter` takes text as the model writes it, releases what has passed the rail as events and LangChain token
callbacks, and builds the `EmpathyReply` at the end. Custom `respond` nodes and replies that no model wrote go through
it too, so nothing reaches a person past the rail.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from empathy_agent.backends.requests import Completion
from empathy_agent.chain import (
    CauseReading,
    Chain,
    EmotionReading,
    EmpathyReply,
    Finish,
    IntentionReading,
    RailHit,
    StrategyReading,
    Usage,
)
from empathy_agent.safety import OutputRail, resource_line, safe_reply
from empathy_agent.vocabulary import RISK_ORDER, LayerName, RiskLevel, max_risk
from empathy_graph.advice import AdviceFilter, unwanted_advice
from empathy_graph.callbacks import AnswerCallbacks
from empathy_graph.events import AnswerDelta
from empathy_graph.faults import fault_note
from empathy_graph.layers import rail_hits
from empathy_graph.run import Engine, Run
from empathy_graph.state import EmpathyState, Json, LayerState, NodeName

HELD_FROM: RiskLevel = "elevated"
"""From this level up the whole answer is held until it has passed."""


def at_least(level: RiskLevel, other: RiskLevel) -> bool:
    """Return whether `level` is `other` or higher."""
    return RISK_ORDER.index(level) >= RISK_ORDER.index(other)


def effective_risk(state: EmpathyState) -> RiskLevel:
    """Return the floor's level, raised by what layer 1 says; it is never lowered."""
    layer = state.get("emotion")
    reading = (layer or {}).get("reading") or {}
    return max_risk(state["risk"]["level"], reading.get("risk") or "none")


def must_not_generate(engine: Engine, state: EmpathyState) -> bool:
    """Return whether a fixed reply is due: at `imminent`, or lower if the model only demonstrates."""
    risk = effective_risk(state)
    return risk == "imminent" or (
        at_least(risk, "elevated") and engine.backend.capabilities.demonstration
    )


class AnswerWriter:
    """Collects one answer."""

    def __init__(
        self, run: Run, state: EmpathyState, layers: Mapping[LayerName, LayerState | None]
    ) -> None:
        self.run, self.state, self.layers = run, state, dict(layers)
        self.risk = effective_risk(state)
        self.lang = state["turn"]["lang"]
        self.text = ""
        self.finish_reason: Finish = "stop"
        self.usage = Usage()
        self.hits: list[RailHit] = []
        self.warnings = list(state["turn"]["warnings"])
        self.message_id = f"lc_run--{uuid.uuid4()}"
        self.callbacks = AnswerCallbacks(run, self.message_id)
        self._open_filters()

    def _open_filters(self) -> None:
        held = at_least(self.risk, HELD_FROM)
        self.rail = OutputRail(
            lang=self.lang, where="answer", hold=held, region=self.run.settings.region
        )
        wanted = self.run.settings.support
        self.advice = AdviceFilter(self.lang) if unwanted_advice(wanted, self.risk) else None

    def start(self) -> None:
        """Tell the callbacks that an answer is coming."""
        self.callbacks.start(self.state["messages"])

    def feed(self, text: str) -> None:
        """Take the next piece from the model."""
        passed = self.rail.feed(text)
        self._release(self.advice.feed(passed) if self.advice else passed)

    def end(self, completion: Completion) -> None:
        """Take the end of one completion."""
        self.usage = self.usage + completion.usage
        passed = self.rail.close()
        if self.advice:
            passed = self.advice.feed(passed) + self.advice.close()
            self.hits += self.advice.hits
        self.hits += self.rail.hits
        self._release(passed.rstrip())
        self.finish_reason = "length" if completion.finish == "length" else "stop"
        if self.finish_reason == "length":
            self.warnings.append("the answer reached its token budget")
        self._open_filters()

    def write(self, text: str) -> None:
        """Take a whole answer that did not come from the backend; it passes the same rail."""
        self.feed(text)
        self.end(Completion(text="", ids=(), finish="stop", usage=Usage(), fingerprint=""))

    def say(self, text: str, finish: Finish) -> None:
        """Release words of our own, which need no rail."""
        self._release(text)
        self.finish_reason = finish

    def break_off(self, node: NodeName, kind: str) -> None:
        """Say a fixed reply instead of what `node` could not write; nothing released is retracted."""
        if self.text:
            self._release("\n\n")
        self.say(safe_reply(self.lang, self.run.settings.region, self.risk), "safe_reply")
        self.warnings.append(fault_note(node, kind))

    def fail(self, error: BaseException) -> None:
        """Tell the callbacks that the answer broke off."""
        self.callbacks.error(error)

    def _release(self, text: str) -> None:
        if not self.text:
            text = text.lstrip()
        if text:
            self.text += text
            self.run.emit(AnswerDelta(text=text))
            self.callbacks.token(text)

    def finish(self) -> Json:
        """Close the answer and return the state update: `reply` and `messages`."""
        region = self.run.settings.region
        if not self.text.strip():
            self.say(safe_reply(self.lang, region, self.risk), "safe_reply")
            self.warnings.append("nothing the model wrote could be shown; a fixed reply stands in")
        elif at_least(self.risk, HELD_FROM) and self.finish_reason in ("stop", "length"):
            self._release("\n\n" + resource_line(self.lang, region))
        reply = self._reply()
        message = AIMessage(
            content=self.text,
            id=self.message_id,
            usage_metadata=UsageMetadata(
                input_tokens=reply.usage.prompt_tokens,
                output_tokens=reply.usage.completion_tokens,
                total_tokens=reply.usage.prompt_tokens + reply.usage.completion_tokens,
            ),
            response_metadata={
                "model_name": reply.model,
                "finish_reason": reply.finish,
                "empathy": reply.model_dump(mode="json"),
            },
        )
        self.callbacks.end(message)
        return {"reply": reply.model_dump(mode="json"), "messages": [message]}

    def _reply(self) -> EmpathyReply:
        usage = self.usage
        for name, layer in self.layers.items():
            if layer is None:
                continue
            usage = usage + Usage.model_validate(layer.get("usage") or {})
            self.warnings += layer.get("warnings") or []
            if layer.get("fault"):
                self.warnings.append(f"layer {name!r} was left out: {layer['fault']}")
        return EmpathyReply(
            answer=self.text,
            chain=chain_of(self.layers),
            risk=self.risk,
            rail=tuple([*rail_hits(list(self.layers.values())), *self.hits]),
            usage=usage,
            model=self.run.backend.name,
            warnings=tuple(dict.fromkeys(self.warnings)),
            finish=self.finish_reason,
        )


def chain_of(layers: Mapping[LayerName, LayerState | None]) -> Chain:
    """Return the typed chain of these layers; a layer that failed or did not run is None."""

    def reading(name: LayerName) -> Json | None:
        layer = layers.get(name)
        return layer.get("reading") if layer else None

    emotion, cause = reading("emotion"), reading("cause")
    intention, strategy = reading("intention"), reading("strategy")
    return Chain(
        emotion=EmotionReading.model_validate(emotion) if emotion else None,
        cause=CauseReading.model_validate(cause) if cause else None,
        intention=IntentionReading.model_validate(intention) if intention else None,
        strategy=StrategyReading.model_validate(strategy) if strategy else None,
    )
