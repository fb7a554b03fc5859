"""Our backend against a bare loop and against itself: `python -m bench [--model tiny|random-0.6b|PATH] [--runs 5]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cases import (
    chain_against_single_pass,
    chain_against_uncached,
    post_segments,
    rate_against_bare_loop,
    request,
    two_conversations,
)
from bench.models import cache_folder, default_models, model_file
from bench.report import ModelReport, print_comparison, print_interleaved, write_json
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.llama_cpp.backend import physical_cores


def main() -> None:
    """Parse the arguments, measure each model and report."""
    parser = argparse.ArgumentParser(prog="python -m bench serial", description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        help="tiny, random-0.6b (made once, 0.5 GB) or a .gguf path; may be repeated; "
        "default: the embedded model and random-0.6b",
    )
    parser.add_argument("--runs", type=int, default=5, help="alternated runs of each side")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="threads of both")
    parser.add_argument("--json", type=Path, default=cache_folder() / "results.json")
    options = parser.parse_args()
    models = options.model or default_models()
    write_json(options.json, [measure(spec, options.runs, options.threads) for spec in models])


def measure(spec: str, runs: int, threads: int) -> ModelReport:
    """Run all cases on one model, printing each as it is done."""
    path = model_file(spec)
    print(f"\n{path.name}, {threads} threads, {runs} alternated runs", flush=True)
    with LlamaCppBackend(path, n_threads=threads) as backend:
        backend.complete(request(post_segments(backend, 32), 8))  # warm-up
        comparisons = []
        for found in (
            chain_against_single_pass(backend, runs),
            [chain_against_uncached(backend, max(1, runs // 2))],
            [rate_against_bare_loop(backend, path, threads, runs)],
        ):
            comparisons += found
            for one in found:
                print_comparison(one)
        computed, once = two_conversations(backend)
        print_interleaved(computed, once)
    return ModelReport(path.name, threads, comparisons, computed, once)


if __name__ == "__main__":
    main()
