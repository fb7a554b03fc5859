"""The async path never blocks the event loop: not on a lock, a sleep or a file."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from empathy_agent.backends.fake import FakeBackend
from empathy_graph.agent import EmpathyAgent
from empathy_graph.events import AnswerDelta
from tests.graph.posts import ELEVATED, POST

blockbuster: Any = pytest.importorskip("blockbuster")


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """Keep the backends of other tests from being collected, and so closed, on the watched loop."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("post", [POST, ELEVATED])
async def test_ainvoke_and_astream_never_block_the_event_loop(post: str) -> None:
    agent = EmpathyAgent(FakeBackend(delay_s=0.001))
    expected = agent.invoke(post)  # data files are read and patterns compiled on first use
    with blockbuster.blockbuster_ctx():
        reply = await agent.ainvoke(post)
        pieces = [item.text async for item in agent.astream(post) if isinstance(item, AnswerDelta)]
    assert reply.answer == expected.answer == "".join(pieces)


async def test_a_sync_node_of_a_host_does_not_block_the_event_loop() -> None:
    import time

    def slow(state: Any, runtime: Any) -> dict[str, str]:
        time.sleep(0.01)
        return {"emotion": "焦虑(2)。"}

    agent = EmpathyAgent(FakeBackend(), nodes={"emotion": slow})
    agent.invoke(POST)
    with blockbuster.blockbuster_ctx():
        reply = await agent.ainvoke(POST)
    assert reply.chain.emotion is not None


async def test_the_gate_tokenises_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()
    threads: list[int] = []
    count = backend.count_tokens

    def counting(segments: Any) -> int:
        threads.append(threading.get_ident())
        return count(segments)

    monkeypatch.setattr(backend, "count_tokens", counting)
    reply = await EmpathyAgent(backend).ainvoke(POST * 3000)
    assert "没有读入" in reply.warnings[0]
    assert len(threads) > 2
    assert threading.get_ident() not in threads
