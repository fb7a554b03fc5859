"""How often company changes a greedy text: `python -m bench invariance [--model tiny] [--posts 20] [--beside 7]`.

Each post is continued alone, then while others are continued in the same batches. Kernels sum in another order for
other batch shapes, so that logits differ in their last digits; where two tokens are nearly equally likely the text goes
another way. Printed: how many texts stay the same, where the others part, and how far apart the two likeliest logits
were at that place alone, beside the usual gap. The same posts alone twice must give the same texts.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from statistics import median

from bench.bare import BareLoop
from bench.models import default_models, model_file
from bench.soak_posts import Tags, tagged_post
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.llama_cpp.backend import physical_cores
from empathy_agent.backends.requests import Completion, Delta, Event, Message, Request, Sink
from empathy_agent.config import Sampling

GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=0)


@dataclass(frozen=True)
class Post:
    """One post, continued alone and in company."""

    alone: tuple[int, ...]
    again: tuple[int, ...]
    beside: tuple[int, ...]
    gaps: list[float]
    """Between the two likeliest logits before each token of `alone`."""

    @property
    def parting(self) -> int | None:
        """Return at which token the texts part, or None."""
        pairs = enumerate(zip(self.alone, self.beside, strict=False))
        return next((index for index, (one, other) in pairs if one != other), None)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure each model and print a line of Markdown for each."""
    parser = argparse.ArgumentParser(
        prog="python -m bench invariance", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", action="append", help="tiny, random-0.6b or a .gguf path")
    parser.add_argument("--posts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each text")
    parser.add_argument("--beside", type=int, default=7, help="how many others run meanwhile")
    parser.add_argument("--threads", type=int, default=physical_cores())
    options = parser.parse_args(argv)
    print("| model | same text | part at token | logit gap there | usual gap | alone twice |")
    print("|---|--:|---|---|--:|--:|")
    for spec in options.model or default_models():
        print(measure(spec, options), flush=True)


def measure(spec: str, options: argparse.Namespace) -> str:
    """Return the table's row of one model."""
    path, count = model_file(spec), options.tokens
    draw, tags = random.Random(0), Tags()
    texts = [tagged_post(tags.new(), draw, 4) for _ in range(options.posts)]
    with LlamaCppBackend(
        path, n_ctx=1024, n_threads=options.threads, parallel_sequences=options.beside + 1
    ) as backend:
        prompts = [backend.pin(backend.render([Message("user", text)])) for text in texts]
        requests = [Request(one, (), count, GREEDY, min_new_tokens=count) for one in prompts]
        alone, again = ([_alone(backend, one) for one in requests] for _ in range(2))
        beside = [
            _in_company(backend, one, _others(requests, index, options.beside))
            for index, one in enumerate(requests)
        ]
    bare = BareLoop(path, 1024, options.threads)
    try:
        ids = [tuple(token for part in one for token in part.ids or ()) for one in prompts]
        gaps = [bare.gaps(prompt, text) for prompt, text in zip(ids, alone, strict=True)]
    finally:
        bare.close()
    posts = [Post(*one) for one in zip(alone, again, beside, gaps, strict=True)]
    parted = [(one.parting, one.gaps[one.parting]) for one in posts if one.parting is not None]
    cells = [
        path.name,
        f"{len(posts) - len(parted)} of {len(posts)}",
        ", ".join(str(at) for at, _ in parted) or "–",
        ", ".join(f"{gap:.3f}" for _, gap in parted) or "–",
        f"{median(gap for one in posts for gap in one.gaps):.3f}",
        f"{sum(one.alone == one.again for one in posts)} of {len(posts)}",
    ]
    return f"| {' | '.join(cells)} |"


def _others(requests: Sequence[Request], index: int, count: int) -> list[Request]:
    """Return the posts after `index`, going round."""
    return [requests[(index + 1 + offset) % len(requests)] for offset in range(count)]


def _alone(backend: LlamaCppBackend, request: Request) -> tuple[int, ...]:
    backend.forget()
    return backend.complete(request).ids


def _in_company(
    backend: LlamaCppBackend, request: Request, others: Sequence[Request]
) -> tuple[int, ...]:
    """Continue the request while the others run from beginning to end."""
    backend.forget()
    done: SimpleQueue[tuple[bool, Event | BaseException]] = SimpleQueue()

    def sink(is_wanted: bool) -> Sink:
        def put(item: Event | BaseException) -> None:
            if not isinstance(item, Delta):
                done.put((is_wanted, item))

        return put

    for other in others:
        backend.submit(other, sink(False))
    backend.submit(request, sink(True))
    ids: tuple[int, ...] = ()
    for _ in range(len(others) + 1):
        is_wanted, item = done.get()
        if isinstance(item, BaseException):
            raise item
        if is_wanted and isinstance(item, Completion):
            ids = item.ids
    return ids


if __name__ == "__main__":
    main()
