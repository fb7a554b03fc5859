"""Layers that were written ahead in one call, kept until they are asked for.

A plan belongs to one conversation of one session. It is served only while the transcript is what it was when the plan
was made plus what has been served since: a layer that someone else wrote makes the rest of it worthless. A layer is
served once, so that a second attempt is a new call. Plans hold what people wrote: few are kept, and none after the
answer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from empathy_agent.backends.chat.conversation import Asked
from empathy_agent.backends.requests import Message
from empathy_agent.vocabulary import LayerName

MAX_PLANS: Final = 256

_Key = tuple[str | None, tuple[Message, ...]]


@dataclass
class _Plan:
    before: dict[LayerName, str]
    """The transcript that the plan goes on from."""
    ahead: dict[LayerName, str]

    def leads_to(self, layers: Mapping[LayerName, str]) -> bool:
        """Return whether `layers` are the plan's own, each perhaps cut at its budget."""
        return layers.keys() == self.before.keys() and all(
            text and self.before[name].startswith(text) for name, text in layers.items()
        )


class Plans:
    """The plans of a backend; safe to use from any thread."""

    def __init__(self) -> None:
        self._plans: OrderedDict[_Key, _Plan] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, session: str | None, asked: Asked) -> str | None:
        """Return the layer that is asked for, if it was written ahead of just this transcript."""
        with self._lock:
            plan = self._plans.get((session, asked.messages))
            if plan is None or asked.written or not plan.leads_to(asked.layers):
                return None
            for name, text in plan.ahead.items():
                if name == asked.part:
                    plan.before[name] = plan.ahead.pop(name)
                    return text
            return None

    def keep(self, session: str | None, asked: Asked, texts: Mapping[LayerName, str]) -> None:
        """Keep `texts`, of which the layer that was asked for counts as served."""
        ahead = dict(texts)
        before = dict(asked.layers)
        before |= {name: ahead.pop(name) for name in texts if name == asked.part}
        with self._lock:
            self._plans[session, asked.messages] = _Plan(before, ahead)
            self._plans.move_to_end((session, asked.messages))
            while len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)

    def drop(self, session: str | None, asked: Asked) -> None:
        """Forget the plan of a conversation."""
        with self._lock:
            self._plans.pop((session, asked.messages), None)

    def clear(self) -> None:
        """Forget all plans."""
        with self._lock:
            self._plans.clear()
