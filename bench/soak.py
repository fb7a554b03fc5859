"""A mixed load on one shared agent for long: `python -m bench soak [--minutes 30] [--clients 12] [--seed 0]`.

Half of the clients are threads, half are tasks of one event loop; `bench.soak_clients` says what they do. Every minute
they pause, and `bench.soak_checks` looks whether everything was given back. At the end: outcomes, latencies, memory;
exit status 1 if anything was wrong. Needs the system's `/proc` for memory, threads and files.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench.models import model_file
from bench.process import percentile, resident_bytes
from bench.soak_checks import Probes, Resources, check_idle, check_together, fill
from bench.soak_clients import Clients, Record
from bench.soak_scenarios import KINDS
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_graph.agent import EmpathyAgent

SLOTS = 8
WAITING = 32
SAMPLE_S = 10.0
SETTLED_S = 120.0
"""When memory must have stopped growing."""
GROWTH = 1.03
PAUSE_S = 180.0
"""How long a pause waits for the clients; who takes longer hangs."""
LEAST_EQUAL = 0.6
"""Share of the probes that must come out as they do alone."""


class Gate:
    """Lets the clients pass, or holds all of them up."""

    def __init__(self, clients: int) -> None:
        self._clients, self._parked = clients, 0
        self._changed = threading.Condition()
        self._is_open, self.is_over = True, False

    def wait(self) -> bool:
        """Park while the gate is shut; return whether to go on."""
        with self._changed:
            self._parked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open or self.is_over)
            self._parked -= 1
            return not self.is_over

    @property
    def is_shut(self) -> bool:
        """Whether a client has to wait."""
        return not self._is_open or self.is_over

    def shut(self, timeout: float) -> int:
        """Shut it, and return how many clients are not parked after `timeout` seconds."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: self._parked == self._clients, timeout)
            return self._clients - self._parked

    def open(self, *, is_over: bool = False) -> None:
        """Let the clients go on, or home."""
        with self._changed:
            self._is_open, self.is_over = True, is_over
            self._changed.notify_all()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the soak and exit with 1 if a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench soak", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="tiny", help="tiny, random-0.6b or a .gguf path")
    parser.add_argument("--clients", type=int, default=12, help="half threads, half tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="threads of a computation")
    parser.add_argument("--json", type=Path, help="write the report there too")
    options = parser.parse_args(argv)
    faulthandler.enable()
    path = model_file(options.model)
    with (
        LlamaCppBackend(
            path, n_threads=options.threads, parallel_sequences=SLOTS, max_waiting=WAITING
        ) as backend,
        EmpathyAgent(backend) as agent,
    ):
        soak = Soak(agent, backend, options.clients, options.seed)
        soak.warm_up()
        soak.run(60 * options.minutes)
    problems = soak.report()
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps(soak.data(), ensure_ascii=False, indent=1) + "\n", "utf-8"
        )
    sys.exit(1 if problems else 0)


class Soak:
    """One soak: starts the clients, pauses them, watches, reports."""

    def __init__(
        self, agent: EmpathyAgent, backend: LlamaCppBackend, clients: int, seed: int
    ) -> None:
        self._backend, self._seed = backend, seed
        self._record, self._probes = Record(), Probes(backend)
        self._clients = Clients(agent, backend, self._probes, self._record)
        self._gate, self._count = Gate(clients), clients
        self._rests: list[Resources] = []
        self._samples: list[tuple[float, int]] = []
        self._seconds = 0.0

    def warm_up(self) -> None:
        """Let all clients do everything once: what is rare takes its memory now, and not as growth in mid-soak."""
        fill(self._backend, SLOTS)

        def everything(number: int) -> None:
            draw = random.Random(-self._seed * 1000 - number - 1)
            for kind in KINDS:
                self._clients.run(draw, kind)

        threads = [
            threading.Thread(target=everything, args=(one,), daemon=True)
            for one in range(self._count)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join(timeout=PAUSE_S)

    def run(self, seconds: float) -> None:
        """Load the agent for `seconds`."""
        threads = [
            threading.Thread(target=self._sync_client, args=(one,), daemon=True)
            for one in range(self._count // 2)
        ]
        threads.append(threading.Thread(target=self._async_clients, daemon=True))
        started = time.monotonic()
        for one in threads:
            one.start()
        rest_every = min(60.0, seconds / 4)
        while not self._gate.is_over:
            self._load(started, min(rest_every, started + seconds - time.monotonic()))
            is_over = time.monotonic() >= started + seconds - rest_every / 4
            if not self._rest(started, is_over=is_over):
                return
        for one in threads:
            one.join(timeout=PAUSE_S)
        self._seconds = time.monotonic() - started

    def _sync_client(self, number: int) -> None:
        draw = random.Random(self._seed * 1000 + number)
        while not self._gate.is_shut or self._gate.wait():
            self._clients.run(draw)

    def _async_clients(self) -> None:
        async def client(number: int) -> None:
            draw = random.Random(self._seed * 1000 + number)
            while not self._gate.is_shut or await asyncio.to_thread(self._gate.wait):
                await self._clients.arun(draw)

        async def all_clients() -> None:
            await asyncio.gather(*map(client, range(self._count // 2, self._count)))

        asyncio.run(all_clients())

    def _load(self, started: float, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(SAMPLE_S, left))
            if (resident := resident_bytes()) is not None:
                self._samples.append((time.monotonic() - started, resident))

    def _rest(self, started: float, *, is_over: bool) -> bool:
        """Pause the clients and check; return whether the soak can go on."""
        if hanging := self._gate.shut(PAUSE_S):
            self._record.problem(f"{hanging} clients hang after {PAUSE_S:g} s")
            faulthandler.dump_traceback(all_threads=True)
            return False
        for problem in (*check_idle(self._backend), *check_together(self._backend, SLOTS)):
            self._record.problem(problem)
        self._rests.append(rest := Resources.now())
        print(
            f"{time.monotonic() - started:6.0f} s: {self._record.outcomes.total()} done, {rest}, "
            f"{self._record.problems.total()} problems",
            flush=True,
        )
        self._gate.open(is_over=is_over)
        return True

    def report(self) -> list[str]:
        """Print everything; return what was wrong."""
        problems = [f"{what}: {count} times" for what, count in self._record.problems.items()]
        problems += self._growth()
        probes = self._probes
        if probes.count and probes.equal < LEAST_EQUAL * probes.count:
            problems.append(f"only {probes.equal} of {probes.count} probes came out as alone")
        print(f"\noutcomes in {self._seconds:.0f} s:")
        for name, count in sorted(self._record.outcomes.items()):
            print(f"  {count:>7}  {name}")
        print("\nseconds of what was finished: median, p95, most")
        for name, values in sorted(self._record.seconds.items()):
            print(
                f"  {name:<24}{percentile(values, 0.5):8.2f}{percentile(values, 0.95):8.2f}"
                f"{max(values):8.2f}"
            )
        print(
            f"\nprobes as computed alone: {probes.equal} of {probes.count} "
            f"(first two tokens: {probes.equal_first})"
        )
        for problem in problems:
            print(f"PROBLEM: {problem}")
        print("no problem" if not problems else f"{len(problems)} kinds of problems")
        return problems

    def data(self) -> dict[str, object]:
        """Return the figures for JSON."""
        return {
            "seconds": self._seconds,
            "outcomes": dict(self._record.outcomes),
            "problems": dict(self._record.problems),
            "resident": self._samples,
            "rests": [asdict(one) for one in self._rests],
            "probes": [self._probes.equal, self._probes.count],
        }

    def _growth(self) -> list[str]:
        """Compare memory, threads and files at the end with what they were when all was settled."""
        problems = []
        settled = [size for at, size in self._samples if SETTLED_S <= at < SETTLED_S + 60]
        late = [size for _, size in self._samples[-6:]]
        if settled and late and self._samples[-1][0] > 2 * SETTLED_S:
            growth = median(late) / median(settled)
            print(f"memory at the end ÷ after two minutes: {growth:.3f} [≤ {GROWTH}]")
            if growth > GROWTH:
                problems.append(f"memory grew by a factor of {growth:.3f}")
        else:
            print("memory: the soak was too short to tell growth from start-up")
        if len(self._rests) < 2:
            return problems
        first, last = self._rests[0], self._rests[-1]
        for name, slack in (("threads", 8), ("files", 4)):
            before, after = getattr(first, name), getattr(last, name)
            if before is not None and after is not None and after > before + slack:
                problems.append(f"{name} grew from {before} to {after}")
        return problems


if __name__ == "__main__":
    main()
