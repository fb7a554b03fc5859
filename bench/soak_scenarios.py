"""What a soak's clients may do: a `Scenario` each; `draw_scenario` draws the next from a client's seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from bench.soak_posts import ELEVATED, HOSTILE, Tags, tagged_post

KINDS = {
    "reply": 50,
    "leave": 14,
    "deadline": 8,
    "hostile": 6,
    "elevated": 1,
    "overflow": 2,
    "direct": 6,
    "direct leave": 4,
    "direct cancel": 4,
    "direct overflow": 1,
    "abandoned session": 3,
    "raising sink": 1,
    "burst": 0.3,
    "probe": 8,
}
"""What is done, by weight."""
SHORT = {"emotion": 48, "cause": 48, "intention": 24, "strategy": 24, "answer": 64}


@dataclass(frozen=True)
class Scenario:
    """One thing to do."""

    kind: str
    messages: list[HumanMessage | AIMessage]
    post: str
    tags: frozenset[str]
    config: RunnableConfig
    is_graph: bool
    items: int
    """After how many items a stream is left."""
    seconds: float
    """After how long a request is cancelled."""

    @property
    def is_direct(self) -> bool:
        """Whether the backend is asked, not the agent."""
        others = ("probe", "burst", "raising sink", "abandoned session")
        return self.kind in others or self.kind.startswith("direct")


def draw_scenario(tags: Tags, draw: random.Random, kind: str | None = None) -> Scenario:
    """Return the next thing to do, of that kind if one is given."""
    kind = kind or draw.choices(list(KINDS), list(KINDS.values()))[0]
    tag = tags.new()
    clauses = draw.choice((1, 2, 4, 8, 40)) if kind != "overflow" else 6
    post, own = tagged_post(tag, draw, clauses), frozenset({tag})
    if kind == "hostile":
        post = draw.choice(HOSTILE) + post
    if kind == "elevated":
        post = draw.choice(ELEVATED)
    messages: list[HumanMessage | AIMessage] = []
    while kind == "reply" and draw.random() < 0.3 and len(messages) < 8:
        earlier = tags.new()
        own |= {earlier}
        messages += [
            HumanMessage(tagged_post(earlier, draw, 2)),
            AIMessage("我在听，你慢慢说。"),
        ]
    is_graph = draw.random() < 0.8
    settings: dict[str, Any] = {
        "empathy_mode": "graph" if is_graph else "single_pass",
        "empathy_budgets": SHORT if kind != "overflow" else {"answer": 30_000},
        "empathy_show_chain": draw.random() < 0.5,
        "empathy_sampling": {"temperature": draw.choice((0.0, 0.7, 1.5))},
    }
    if kind == "deadline":
        settings["empathy_deadline_s"] = 10 ** draw.uniform(-3, 0)
        settings["empathy_on_fault"] = draw.choice(("raise", "safe_reply"))
    return Scenario(
        kind,
        [*messages, HumanMessage(post)],
        post,
        own,
        {"configurable": settings},
        is_graph,
        draw.randrange(12),
        10 ** draw.uniform(-3, -0.3),
    )
