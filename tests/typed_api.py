"""What the public face promises to a type checker; read by `make types`, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from empathy_agent import EmpathyAgent, EmpathyReply, Settings, build_graph
from empathy_agent.backends.fake import FakeBackend
from empathy_graph.builder import EmpathyGraph
from empathy_graph.events import EmpathyStreamItem


def check_the_agent(agent: EmpathyAgent) -> None:
    assert_type(agent.invoke("text"), EmpathyReply)
    assert_type(agent.stream({"text": "text"}), Iterator[EmpathyStreamItem])
    assert_type(agent.astream("text"), AsyncIterator[EmpathyStreamItem])
    assert_type(agent.notice("en"), str)


async def check_the_async_agent(agent: EmpathyAgent) -> None:
    assert_type(await agent.ainvoke([("user", "text")]), EmpathyReply)


def check_the_graph() -> None:
    assert_type(build_graph(FakeBackend(), settings=Settings(support="listening")), EmpathyGraph)
