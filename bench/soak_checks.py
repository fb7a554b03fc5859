"""What must hold while nobody asks anything: no slot leased, nothing waiting, all slots usable, nothing piling up.

`Resources` are the figures that may not grow. The checks look into the backend's engine and worker, which no caller
should do; a soak is there to find what a caller cannot see.
"""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass

from bench.process import open_files, resident_bytes, thread_count
from empathy_agent.backends.requests import Completion, Delta, Event, Message, Request
from empathy_agent.backends.token_backend import TokenBackend
from empathy_agent.config import Sampling
from empathy_agent.segments import Segment

IDLE_S = 10.0
TOGETHER_TOKENS = 48
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=0)


@dataclass(frozen=True)
class Resources:
    """Figures of this process at one moment."""

    resident: int | None
    threads: int | None
    files: int | None

    @classmethod
    def now(cls) -> Resources:
        """Return the figures of now, without what only waits to be collected."""
        gc.collect()
        return cls(resident_bytes(), thread_count(), open_files())


def check_idle(backend: TokenBackend) -> list[str]:
    """Return what is wrong with a backend that nobody asks anything."""
    problems = []
    worker, pool = backend._worker, backend._engine.pool
    until = time.monotonic() + IDLE_S
    while time.monotonic() < until:
        # A slot that is kept for a session which never goes on is free again within a second.
        leased = [slot.index for slot in pool._slots if slot.reserved or pool._is_kept(slot)]
        if not leased and not worker._active and not worker._waiting:
            break
        time.sleep(0.05)
    else:
        problems.append(
            f"{IDLE_S:g} s after the last request slots {leased} are leased, {len(worker._active)} jobs "
            f"run and {len(worker._waiting)} wait"
        )
    if not worker._thread.is_alive():
        problems.append("the worker's thread has ended")
    for slot in pool._slots:
        if len(slot.tokens) != len(slot.cells):
            problems.append(
                f"slot {slot.index} has {len(slot.tokens)} tokens in {len(slot.cells)} cells"
            )
    held = len({cell for slot in pool._slots for cell in slot.cells})
    if held > backend._engine.model.cache_tokens:
        problems.append(f"{held} cells are booked of {backend._engine.model.cache_tokens}")
    return problems


def check_together(backend: TokenBackend, count: int) -> list[str]:
    """Return what is wrong with `count` fresh requests: all must have begun when the first ends."""
    lock, begun, ended = threading.Lock(), set[int](), list[int]()
    problems: list[str] = []
    done = threading.Semaphore(0)

    def submit(number: int) -> None:
        prompt = backend.render([Message("user", f"第{number}个人想说几句话。")])

        def sink(item: Event | BaseException) -> None:
            with lock:
                if isinstance(item, Delta):
                    begun.add(number)
                    return
                ended.append(len(begun))
                if not isinstance(item, Completion):
                    problems.append(f"a fresh request ended with {type(item).__name__}")
            done.release()

        request = Request(prompt, (), TOGETHER_TOKENS, GREEDY, min_new_tokens=TOGETHER_TOKENS)
        backend.submit(request, sink)

    for number in range(count):
        submit(number)
    for _ in range(count):
        if not done.acquire(timeout=60):
            return [*problems, f"{count - len(ended)} of {count} fresh requests hang"]
    if ended[0] < count:
        problems.append(f"only {ended[0]} of {count} fresh requests ran at once")
    return problems


class Probes:
    """Fixed greedy requests whose answer, computed alone, is known: a damaged cache changes them.

    Batches round differently, so a few answers change in good health too (`bench.invariance`).
    """

    PROMPTS = (
        "我睡不着。",
        "她不理我了。",
        "工作丢了，怎么办？",
        "考试没过。",
        "好累。",
        "我想家。",
    )

    def __init__(self, backend: TokenBackend) -> None:
        self._backend = backend
        self._alone: list[tuple[int, ...]] = []
        for number in range(len(self.PROMPTS)):
            backend.forget()
            self._alone.append(backend.complete(self.request(number)).ids)
        self.count = self.equal = self.equal_first = 0
        self._lock = threading.Lock()

    def request(self, number: int) -> Request:
        """Return the request of one probe."""
        prompt = self._backend.render([Message("user", self.PROMPTS[number])])
        return Request(prompt, (), 24, GREEDY, min_new_tokens=24)

    def record(self, number: int, completion: Completion) -> None:
        """Compare an answer with the known one."""
        known, got = self._alone[number], completion.ids
        with self._lock:
            self.count += 1
            self.equal += got == known
            self.equal_first += got[:2] == known[:2]


def completion_problem(backend: TokenBackend, request: Request, events: list[Event]) -> str | None:
    """Return what is wrong with the events of one direct request that came to its end."""
    *deltas, last = events
    if not isinstance(last, Completion) or not all(isinstance(one, Delta) for one in deltas):
        return "a stream is not deltas and one completion"
    pieces = [one for one in deltas if isinstance(one, Delta)]
    if "".join(one.text for one in pieces) != last.text:
        return "the deltas are not the text"
    if tuple(token for one in pieces for token in one.ids) != last.ids:
        return "the deltas' ids are not the completion's"
    usage, prompt = last.usage, backend.count_tokens(request.segments)
    if usage.prompt_tokens != prompt:
        return f"{usage.prompt_tokens} prompt tokens are reported of {prompt}"
    if usage.evaluated_tokens + usage.reused_tokens != prompt + usage.completion_tokens - 1:
        return f"the counts do not add up: {usage!r}"
    return None


def fill(backend: TokenBackend, count: int) -> None:
    """Fill `count` sequences to the last token at once.

    llama.cpp reserves its buffers for the fullest cache, but the system counts a page only when it is written first.
    Where that happens by chance in mid-soak, it looks like growth.
    """
    size = backend.context_size - TOGETHER_TOKENS
    done = threading.Semaphore(0)

    def sink(item: Event | BaseException) -> None:
        if not isinstance(item, Delta):
            done.release()

    for number in range(count):
        long = Segment(f"{number}" * backend.context_size)
        ids = (backend.pin((long,))[0].ids or ())[:size]
        prompt = Segment("", ids=ids, fingerprint=backend.fingerprint)
        backend.submit(
            Request((prompt,), (), TOGETHER_TOKENS, GREEDY, min_new_tokens=TOGETHER_TOKENS), sink
        )
    for _ in range(count):
        if not done.acquire(timeout=600):
            raise SystemExit("the cache could not be filled")
    backend.forget()
