"""Many chats at once: `python -m bench concurrency [--model tiny] [--chats 1,2,4,8,16] [--runs 3] [--json FILE]`.

Each client holds chats (`bench.chats`) one after the other on one of the systems (`bench.systems`): ours, ours one at a
time, llama-server. All clients start at once; the systems take turns from run to run, the others lying idle meanwhile.
It ends with a Markdown table and the two goals: at 8 chats at least twice the tokens a second of one chat at a time,
and at least those of llama-server. Where a chat takes long, each is run once and one request at a time not at all.
About a quarter of an hour for both models on two idle cores, and once the server's build.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.cases import TOTAL_TOKENS
from bench.chats import ChatMaker, System, Times, hold
from bench.concurrency_report import Memory, ModelResult, Run, print_model, write_results
from bench.llama_server import CannotBuild, Server, server_features, server_file, wheel_features
from bench.models import cache_folder, default_models, model_file
from bench.systems import LlamaServer, OneChatAtATime, OneRequestAtATime, Ours
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.llama_cpp.backend import physical_cores
from empathy_agent.backends.llama_cpp.model import LlamaModel

CONTEXT = 1024
"""Tokens of one chat's context."""
SERVER_SLOTS = 8
LONG_CHAT_S = 5.0
"""Where one chat takes longer, everything is run once, and `OneRequestAtATime` not at all."""
SERIAL = ("one chat at a time", "one request at a time")


@dataclass(frozen=True)
class Plan:
    """What is run on a model."""

    chats: tuple[int, ...]
    serial_at: tuple[int, ...]
    runs: int
    seconds: float
    threads: int
    has_server: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, measure each model and report."""
    options = _options(argv)
    has_server = not options.no_server
    if has_server:
        try:
            server_file()
        except CannotBuild as problem:
            print(f"no column for llama-server: {problem}", flush=True)
            has_server = False
    plan = Plan(
        options.chats,
        options.serial_at,
        options.runs,
        options.seconds,
        options.threads,
        has_server,
    )
    results = []
    for spec in options.model or default_models():
        results.append(measure(model_file(spec), plan))
        print_model(results[-1])
    write_results(options.json, results)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    def counts(text: str) -> tuple[int, ...]:
        return tuple(int(one) for one in text.split(",") if one)

    parser = argparse.ArgumentParser(
        prog="python -m bench concurrency", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", action="append", help="tiny, random-0.6b or a .gguf path")
    parser.add_argument("--chats", type=counts, default=(1, 2, 4, 8, 16), help="clients at once")
    parser.add_argument("--serial-at", type=counts, default=(8,), help="clients of the locked ones")
    parser.add_argument("--runs", type=int, default=3, help="alternated runs where chats are short")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="what a run should take at least"
    )
    parser.add_argument("--threads", type=int, default=physical_cores(), help="threads of all")
    parser.add_argument("--no-server", action="store_true", help="leave llama-server out")
    parser.add_argument("--json", type=Path, default=cache_folder() / "concurrency.json")
    return parser.parse_args(argv)


def measure(path: Path, plan: Plan) -> ModelResult:
    """Run all systems on one model, in turns."""
    with ExitStack() as stack:
        backend = stack.enter_context(
            LlamaCppBackend(
                path,
                n_ctx=CONTEXT,
                n_threads=plan.threads,
                parallel_sequences=max(*plan.chats, 2),
            )
        )
        maker = ChatMaker(backend)
        ids = maker.system_ids
        systems: list[System] = [Ours(backend, ids)]
        systems += [OneChatAtATime(backend, ids), OneRequestAtATime(backend, ids)]
        notes = [f"llama-cpp-python: {' '.join(sorted(wheel_features()))}"]
        if plan.has_server:
            server = stack.enter_context(
                Server(path, slots=SERVER_SLOTS, context=CONTEXT, threads=plan.threads)
            )
            systems.append(LlamaServer(server, ids, maker.tokenize))
            notes.append(f"llama-server: {' '.join(sorted(server_features()))}")
        before = {system.label: system.resident() for system in systems}
        chat_s = _seconds_of_one_chat(systems, maker)
        runs = plan.runs
        if chat_s >= LONG_CHAT_S:
            runs = 1
            systems = [one for one in systems if not isinstance(one, OneRequestAtATime)]
        print(f"\n{path.name}: {chat_s:.2f} s a chat alone, {runs} run(s)", flush=True)
        measured = list(_rounds(systems, maker, plan, runs, chat_s))
        memory = Memory(
            before, _cache_bytes_per_token(backend), maker.chat_tokens, len(maker.system_ids)
        )
        return ModelResult(path.name, plan.threads, notes, measured, memory)


def _seconds_of_one_chat(systems: Sequence[System], maker: ChatMaker) -> float:
    """Warm every system up and return what a chat takes alone on the first."""
    seconds = []
    for system in systems:
        if system.label in SERIAL:
            continue
        system.begin()
        seconds.append(hold(system, maker.chat(1), "warm-up", 1).total_s)
    return seconds[0]


def _rounds(
    systems: Sequence[System], maker: ChatMaker, plan: Plan, runs: int, chat_s: float
) -> Iterator[Run]:
    """Run every system with every number of clients, in turns."""
    for turn in range(runs):
        for clients in plan.chats:
            each = max(1, math.ceil(plan.seconds / chat_s / clients))
            for system in systems:
                if system.label in SERIAL and clients not in plan.serial_at:
                    continue
                # Other posts each time: what a system has cached of earlier ones is of no use.
                seed = 1_000_000 * (turn + 1) + 10_000 * clients
                run = run_once(system, maker, clients, each, seed)
                print(
                    f"  {clients:>2} at once, {system.label:<22} {run.tokens_per_s:8.1f} tokens/s",
                    flush=True,
                )
                yield run


def run_once(system: System, maker: ChatMaker, clients: int, each: int, seed: int) -> Run:
    """Let `clients` hold `each` chats one after the other, all beginning at once."""
    work = [[maker.chat(seed + 100 * one + i) for i in range(each)] for one in range(clients)]
    system.begin()
    barrier = threading.Barrier(clients + 1)
    done: list[Times] = []
    problems: list[Exception] = []

    def client(number: int) -> None:
        try:
            barrier.wait()
            for index, chat in enumerate(work[number]):
                session = f"{seed}.{number}.{index}"
                done.append(hold(system, chat, session, seed + number))
        except Exception as error:  # told by the main thread, which ends the bench
            problems.append(error)

    threads = [threading.Thread(target=client, args=(one,)) for one in range(clients)]
    for one in threads:
        one.start()
    barrier.wait()
    started = time.perf_counter()
    for one in threads:
        one.join()
    seconds = time.perf_counter() - started
    if problems:
        raise problems[0]
    return Run(system.label, clients, seconds, TOTAL_TOKENS * len(done), done, system.resident())


def _cache_bytes_per_token(backend: LlamaCppBackend) -> int:
    """Return what a token takes in a half-precision cache, by the model file's own numbers."""
    assert isinstance(backend._model, LlamaModel)
    metadata = backend._model.vocabulary.metadata
    kind = metadata("general.architecture")

    def number(key: str) -> int:
        return int(metadata(f"{kind}.{key}") or 0)

    heads, width = number("attention.head_count"), number("embedding_length")
    own = width // heads if heads else 0
    head = [number(f"attention.{part}_length") or own for part in ("key", "value")]
    return 2 * number("block_count") * (number("attention.head_count_kv") or heads) * sum(head)


if __name__ == "__main__":
    main()
