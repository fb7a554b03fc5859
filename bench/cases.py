"""The comparisons: chain against single pass, uncached calls, a bare loop; two chains at once.

All are greedy, with the same threads and fixed token counts: end tokens are banned until the count
is reached, so a random model and a trained one do the same work. Runs alternate between the two
sides, so that a busy machine slows both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.bare import BareLoop
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.requests import Message, Request
from empathy_agent.config import Sampling
from empathy_agent.segments import (
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    NEWLINE,
    THINK_CLOSE,
    THINK_OPEN,
    Segment,
    control,
)
from empathy_agent.vocabulary import LAYERS

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=0)
LAYER_TOKENS = {"emotion": 48, "cause": 48, "intention": 24, "strategy": 24}
ANSWER_TOKENS = 96
TOTAL_TOKENS = sum(LAYER_TOKENS.values()) + ANSWER_TOKENS
_POST = "最近他总是很晚才回消息，我一个人在宿舍里胡思乱想，总觉得他不爱我了。"


@dataclass(frozen=True)
class Side:
    """One side of a comparison, run by run."""

    label: str
    seconds: list[float]
    """Wall time."""
    cpu_seconds: list[float]
    """Processor time of all threads: steadier than wall time where others use the machine."""
    evaluated_tokens: list[int]

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class Comparison:
    """Two sides and the number that they lead to."""

    title: str
    ours: Side
    other: Side
    figure: float
    goal: str
    is_met: bool


def post_segments(backend: LlamaCppBackend, tokens: int) -> tuple[Segment, ...]:
    """Return a rendered prompt whose post has about `tokens` tokens, made longer by repetition."""
    each = max(1, backend.count_tokens((Segment(_POST),)))
    post = _POST * max(1, round(tokens / each))
    return backend.pin(backend.render([Message("user", post)]))


def request(segments: tuple[Segment, ...], count: int) -> Request:
    """Return a greedy request for exactly `count` tokens."""
    return Request(segments, (), count, GREEDY, min_new_tokens=count)


def written_by_nodes() -> tuple[Segment, ...]:
    """Return what the nodes write between the opening of the chain and the end of the answer."""
    segments: tuple[Segment, ...] = ()
    for layer in LAYERS:
        segments += (control(LAYER_OPEN[layer]), control(LAYER_CLOSE[layer]), NEWLINE)
    return (*segments, control(THINK_CLOSE), NEWLINE, control(ANSWER_OPEN))


def run_chain(backend: LlamaCppBackend, prompt: tuple[Segment, ...], *, is_cached: bool) -> None:
    """Write the chain as the nodes do: each opening tag, its content, its closing tag."""
    segments = (*prompt, control(THINK_OPEN), NEWLINE)
    for layer in LAYERS:
        if not is_cached:
            backend.forget()
        segments = (*segments, control(LAYER_OPEN[layer]))
        done = backend.complete(request(segments, LAYER_TOKENS[layer]))
        segments = (*segments, done.segment, control(LAYER_CLOSE[layer]), NEWLINE)
    if not is_cached:
        backend.forget()
    segments = (*segments, control(THINK_CLOSE), NEWLINE, control(ANSWER_OPEN))
    backend.complete(request(segments, ANSWER_TOKENS))


def alternate(
    backend: LlamaCppBackend, runs: int, sides: dict[str, Callable[[], object]]
) -> list[Side]:
    """Run the sides in turn, each from an empty cache."""
    measured = {label: Side(label, [], [], []) for label in sides}
    for _ in range(runs):
        for label, action in sides.items():
            backend.forget()
            side, computed = measured[label], backend.evaluated_tokens
            started, cpu_started = time.perf_counter(), time.process_time()
            action()
            side.seconds.append(time.perf_counter() - started)
            side.cpu_seconds.append(time.process_time() - cpu_started)
            side.evaluated_tokens.append(backend.evaluated_tokens - computed)
    return list(measured.values())


def chain_against_single_pass(backend: LlamaCppBackend, runs: int) -> list[Comparison]:
    """Compare the chain with one call: of as many new tokens, and of the whole transcript.

    A single pass also has to write the tags, which the nodes write themselves: the second figure
    compares equal transcripts, the first only what the model samples.
    """
    prompt = post_segments(backend, 400)
    opened = (*prompt, control(THINK_OPEN), NEWLINE)
    transcript = TOTAL_TOKENS + backend.count_tokens(written_by_nodes())
    chain, sampled, whole = alternate(
        backend,
        runs,
        {
            "chain": lambda: run_chain(backend, prompt, is_cached=True),
            f"single pass, {TOTAL_TOKENS}": lambda: backend.complete(request(opened, TOTAL_TOKENS)),
            f"single pass, {transcript}": lambda: backend.complete(request(opened, transcript)),
        },
    )
    return [
        _ratio(f"chain ÷ single pass, {TOTAL_TOKENS} sampled tokens each", chain, sampled),
        _ratio(f"chain ÷ single pass, {transcript} tokens of transcript each", chain, whole),
    ]


def _ratio(title: str, ours: Side, other: Side) -> Comparison:
    ratio = ours.median / other.median
    return Comparison(title, ours, other, ratio, "≤ 1.05", ratio <= 1.05)


def chain_against_uncached(backend: LlamaCppBackend, runs: int) -> Comparison:
    """Compare the chain with the same calls from an empty cache each, at a post of 1,000 tokens."""
    room = backend.context_size - TOTAL_TOKENS - 128
    prompt = post_segments(backend, min(1000, room))
    ours, other = alternate(
        backend,
        runs,
        {
            "chain": lambda: run_chain(backend, prompt, is_cached=True),
            "uncached calls": lambda: run_chain(backend, prompt, is_cached=False),
        },
    )
    ratio = other.median / ours.median
    title = f"uncached calls ÷ chain, prompt of {backend.count_tokens(prompt)} tokens"
    return Comparison(title, ours, other, ratio, "≥ 2", ratio >= 2)


def rate_against_bare_loop(
    backend: LlamaCppBackend, path: Path, threads: int, runs: int
) -> Comparison:
    """Compare tokens per second with the plain loop over the library, from the same prompt."""
    prompt, count = post_segments(backend, 32), 200
    ids = tuple(token for segment in prompt for token in segment.ids or ())
    bare = BareLoop(path, backend.context_size, threads)
    try:
        ours, other = alternate(
            backend,
            runs,
            {
                "backend": lambda: backend.complete(request(prompt, count)),
                "bare loop": lambda: bare.generate(ids, count),
            },
        )
    finally:
        bare.close()
    other.evaluated_tokens[:] = [len(ids) + count - 1] * runs
    ratio = other.median / ours.median
    title = f"tokens/s of the backend ÷ bare loop ({count / ours.median:.0f} tokens/s)"
    return Comparison(title, ours, other, ratio, "≥ 0.95", ratio >= 0.95)


def two_conversations(backend: LlamaCppBackend) -> tuple[int, int]:
    """Run two interleaved chains; return the tokens computed, and those of both texts once."""
    backend.forget()
    before, barrier = backend.evaluated_tokens, threading.Barrier(2)
    totals: list[int] = []

    def talk(opening: str) -> None:
        rendered = backend.render([Message("user", opening + _POST * 4)])
        segments = backend.pin((*rendered, control(THINK_OPEN), NEWLINE))
        count = 0
        for layer in LAYERS:
            barrier.wait()
            segments = (*segments, control(LAYER_OPEN[layer]))
            count = backend.count_tokens(segments) + LAYER_TOKENS[layer] - 1
            done = backend.complete(request(segments, LAYER_TOKENS[layer]))
            segments = (*segments, done.segment, control(LAYER_CLOSE[layer]), NEWLINE)
        totals.append(count)

    threads = [threading.Thread(target=talk, args=(opening,)) for opening in ("甲：", "乙：")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return backend.evaluated_tokens - before, sum(totals)
