"""The conversation as the model sees it: the turns that were answered, and one that may be open.

A turn is immutable and knows the messages before it, so asking anew is the same turn once more and whatever ends early
changes nothing. A turn that was stopped or failed stays out of the conversation, with one exception: from risk `watch`
up the person's message stays, without the broken answer, because the safety floor reads the level from the history.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from pydantic import ValidationError

from empathy_agent.chain import EmpathyReply
from empathy_agent.vocabulary import RiskLevel, max_risk


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Turn:
    """One message of the person's and, once it is there, the answer."""

    post: HumanMessage
    before: tuple[AnyMessage, ...] = ()
    """The conversation up to this turn."""
    answer: AIMessage | None = None
    level: RiskLevel = "none"
    attempts: int = 0
    """How often it was asked before."""
    answer_id: str = field(default_factory=_new_id)
    """Id of the answer, the same for every attempt: in a stored thread the later one replaces the earlier."""

    @property
    def asked(self) -> tuple[AnyMessage, ...]:
        """The messages to answer."""
        return (*self.before, self.post)

    @property
    def kept(self) -> tuple[AnyMessage, ...]:
        """The conversation with what stays of this turn."""
        if self.answer is not None:
            return (*self.asked, self.answer)
        return self.before if self.level == "none" else self.asked

    @property
    def reply(self) -> EmpathyReply | None:
        """The reply with its chain, where the answer is there and holds it."""
        if self.answer is None:
            return None
        try:
            return EmpathyReply.model_validate(self.answer.response_metadata.get("empathy"))
        except ValidationError:  # a thread that another program or version wrote
            return None


class Conversation:
    """The turns so far, oldest first; `messages` is where a stored one goes on."""

    def __init__(self, messages: Sequence[AnyMessage] = ()) -> None:
        self.last: Turn | None = None
        self._earlier = tuple(messages)
        match self._earlier:
            case (
                *before,
                HumanMessage() as post,
            ):  # its answer was stopped, at a level that keeps the message
                self.last = Turn(post, tuple(before), level="watch")
            case (*before, HumanMessage() as post, AIMessage() as answer):
                answer_id = answer.id or _new_id()
                self.last = Turn(post, tuple(before), answer, answer_id=answer_id)

    @property
    def messages(self) -> tuple[AnyMessage, ...]:
        """What the model sees of it, and what is stored."""
        return self._earlier if self.last is None else self.last.kept

    def begin(self, text: str, level: RiskLevel = "none") -> Turn:
        """Open a turn with the person's next message, at the risk level that the floor reads."""
        self.last = Turn(HumanMessage(text, id=_new_id()), self.messages, level=level)
        return self.last

    def ask_again(self) -> Turn | None:
        """Return the last turn for another attempt; until that ends, the old answer stays."""
        if self.last is not None:
            self.last = replace(self.last, attempts=self.last.attempts + 1)
        return self.last

    def finish(self, reply: EmpathyReply) -> None:
        """Close the open turn with its reply."""
        if self.last is None:
            raise ValueError("no turn is open")
        message = AIMessage(
            content=reply.answer,
            id=self.last.answer_id,
            response_metadata={
                "model_name": reply.model,
                "finish_reason": reply.finish,
                "empathy": reply.model_dump(mode="json"),
            },
        )
        self.last = replace(self.last, answer=message, level=max_risk(self.last.level, reply.risk))
