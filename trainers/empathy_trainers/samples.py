"""Held-out posts answered by the serving graph, every reply unedited, and what can be counted.

    python -m empathy_trainers.samples --model PATH.gguf --data-dir DATA --out docs/samples.md

Posts come from the test split of SmileChat (CC0), by a fixed seed, one from each group of
dialogues. Nothing is selected afterwards. The markdown is for reading; the JSON beside it holds
the counts. With `--format-share N` the model also writes N chains freely, in a single pass, and
the share that `parse_strict` accepts is counted.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from empathy_agent.backends.base import Backend
from empathy_agent.backends.fit import fit
from empathy_agent.backends.requests import Message, Request
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Budgets, Sampling, Settings
from empathy_agent.errors import OutputParseError, TrainingDataError
from empathy_agent.segments import ANSWER_CLOSE, NEWLINE, THINK_OPEN, control
from empathy_agent.transcript import parse_lenient, parse_strict
from empathy_agent.vocabulary import LAYERS
from empathy_trainers.data.lct import LctRecord, iter_lct
from empathy_trainers.data.splits import smilechat_groups
from empathy_trainers.overlap import (
    TOKENIZER,
    Cut,
    common_words,
    content_words,
    load_cut,
    overlap,
)
from empathy_trainers.report import write_json
from empathy_trainers.weak.screening import speaks_of_death

LONG_POST: Final = 200
"""Characters that a post must have."""
_QUOTE: Final = re.compile(r"「([^」]*)」")


@dataclass(frozen=True)
class Sample:
    """One held-out post and the reply to it."""

    id: str
    post: str
    seed: int
    reply: EmpathyReply


def heldout_posts(data_dir: Path, seed: int) -> list[LctRecord]:
    """Return the long posts of the test split, one a group, in an order drawn by `seed`.

    Posts that speak of death or self-harm are left out: the safety floor answers those, not the
    model.
    """
    groups, seen = smilechat_groups(data_dir), set()
    found = []
    for record in iter_lct(data_dir, "test"):
        group = groups[int(record.id.rpartition("-")[2])]
        is_fit = len(record.question) >= LONG_POST and not speaks_of_death(record.question)
        if is_fit and group not in seen:
            seen.add(group)
            found.append(record)
    random.Random(seed).shuffle(found)
    return found


def answer_posts(model: str | Backend, posts: Sequence[LctRecord], seed: int) -> list[Sample]:
    """Answer `posts` with the graph, sampled as served, the n-th with `seed` + n."""
    from empathy_graph.agent import EmpathyAgent

    samples = []
    with EmpathyAgent(model=model, settings=Settings(show_chain=True)) as agent:
        for number, record in enumerate(posts):
            sampling = {"empathy_sampling": {"seed": seed + number}}
            reply = agent.invoke(record.question, {"configurable": sampling})
            samples.append(Sample(record.id, record.question, seed + number, reply))
    return samples


def quote_counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Count the quotes of layers 1 and 2, and those that are exact substrings of their post."""
    quotes = [(quote, sample.post) for sample in samples for quote in _quotes(sample.reply)]
    return {
        "quotes": len(quotes),
        "exact": sum(bool(quote) and quote in post for quote, post in quotes),
        "replies_with_an_exact_quote": sum(
            any(quote and quote in sample.post for quote in _quotes(sample.reply))
            for sample in samples
        ),
    }


def _quotes(reply: EmpathyReply) -> list[str]:
    layers = (reply.chain.emotion, reply.chain.cause)
    return [quote for layer in layers if layer for quote in _QUOTE.findall(layer.text)]


def overlap_counts(
    samples: Sequence[Sample], pool: Sequence[LctRecord], cut: Cut, seed: int
) -> dict[str, object]:
    """Count replies that share content words with their posts; `pool` says which are common."""
    common = common_words([content_words(record.question, cut) for record in pool])
    posts = [content_words(sample.post, cut) for sample in samples]
    answers = [content_words(sample.reply.answer, cut) for sample in samples]
    strict = overlap([one - common for one in posts], [one - common for one in answers], seed)
    return {
        "tokenizer": TOKENIZER,
        "all_content_words": asdict(overlap(posts, answers, seed)),
        "without_common_words": asdict(strict),
        "common_words": len(common),
        "common_words_pool": len(pool),
    }


def format_share(
    backend: Backend, posts: Sequence[LctRecord], sampling: Sampling, seed: int
) -> dict[str, object]:
    """Let the model write whole chains freely and count those that parse strictly.

    As in `mode="single_pass"`, `<empathy_think>` is given and the model goes on to `</answer>`;
    nothing is tried again, and nothing holds the quotes to the post.
    """
    budget = sum(Budgets().model_dump().values())
    faults: Counter[str] = Counter()
    quotes: list[bool] = []
    for number, record in enumerate(posts):
        prompt = fit(backend, [Message("user", record.question)], budget + 8, "zh")
        completion = backend.complete(
            Request(
                segments=(*prompt.segments, control(THINK_OPEN), NEWLINE),
                stop=(ANSWER_CLOSE,),
                max_new_tokens=budget,
                sampling=sampling.model_copy(update={"seed": seed + number}),
            )
        )
        layers = parse_lenient(completion.text).layers
        evidence = layers.get("emotion", "") + layers.get("cause", "")
        quotes += [bool(q) and q in record.question for q in _QUOTE.findall(evidence)]
        closing = ANSWER_CLOSE if completion.finish == "stop" else ""
        try:
            parse_strict(f"{THINK_OPEN}\n{completion.text}{closing}")
        except OutputParseError as error:
            faults[f"{error.node}, {completion.finish}"] += 1
    return {
        "valid": len(posts) - faults.total(),
        "total": len(posts),
        "faults": dict(faults),
        "quotes": len(quotes),
        "exact": sum(quotes),
        "settings": f"temperature {sampling.temperature}, top-p {sampling.top_p}, "
        f"top-k {sampling.top_k}, repeat penalty {sampling.repeat_penalty}, seeds from {seed}",
    }


def markdown(samples: Sequence[Sample], facts: dict[str, object]) -> str:
    """Return the report; every reply stands as the graph returned it."""
    head = [
        f"# {len(samples)} held-out posts, answered by {facts['model']}",
        f"Written by `python -m empathy_trainers.samples` (seed {facts['seed']}); do not edit. The "
        f"posts are the first {len(samples)} of {facts['pool']} posts of {LONG_POST} characters or "
        "more in the test split of SmileChat (github.com/qiuhuachuan/smile, CC0-1.0 on its "
        "publisher's word), in an order drawn by that seed, one a group of dialogues, without "
        "those that speak of death or self-harm. Every reply is unedited, weak ones included.",
        *_counts(facts),
    ]
    return "\n\n".join([*head, *(_entry(n, s) for n, s in enumerate(samples, start=1))]) + "\n"


def _counts(facts: dict[str, object]) -> Iterator[str]:
    quotes = facts.get("quotes")
    if isinstance(quotes, dict):
        yield (
            f"- Quotes in layers 1 and 2: {quotes['quotes']}, of which {quotes['exact']} are exact "
            f"words of the post; {quotes['replies_with_an_exact_quote']} replies have one. The graph "
            "holds quotes to the post by construction (docs/decisions/0003-quotes-by-construction.md)."
        )
    shared = facts.get("overlap")
    if isinstance(shared, dict):
        for key, words in (
            ("all_content_words", "content word"),
            ("without_common_words", "content word that at most a fifth of the posts hold"),
        ):
            one = shared[key]
            yield (
                f"- Replies that share a {words} with their post: {one['own']} of {one['pairs']} "
                f"({one['own_words']} words each); shuffled: {one['shuffled_mean']} "
                f"({one['shuffled_words']} words each)."
            )
    share = facts.get("format_share")
    if isinstance(share, dict):
        yield (
            f"- Free single-pass generations in valid format: {share['valid']} of "
            f"{share['total']} ({share['settings']}). There nothing holds the quotes: "
            f"{share['exact']} of {share['quotes']} are exact words of the post."
        )


def _entry(number: int, sample: Sample) -> str:
    reply = sample.reply
    readings = ((name, getattr(reply.chain, name)) for name in LAYERS)
    layers = [f"- **L{n}** {r.text.strip()}" for n, (_, r) in enumerate(readings, start=1) if r]
    notes = [f"risk {reply.risk}, finish {reply.finish}, seed {sample.seed}"]
    notes += [f"rail: {hit.rule} {hit.action} in {hit.where}" for hit in reply.rail]
    notes += list(reply.warnings)
    post = "\n".join(f"> {line}" for line in sample.post.splitlines())
    parts = [f"## {number}. {sample.id}", post, "\n".join(layers), reply.answer.strip()]
    return "\n\n".join([*(part for part in parts if part), f"*{'; '.join(notes)}*"])


def main(argv: list[str] | None = None) -> None:
    """Answer the posts, count, and write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--model", required=True, help="a GGUF file, or 'tiny'")
    add("--data-dir", type=Path, help="folder of the corpora; default: EMPATHY_DATA")
    add("--out", type=Path, required=True, help="the markdown to write; the JSON lies beside it")
    add("--count", type=int, default=20, help="posts to answer (default: 20)")
    add("--seed", type=int, default=7, help="of posts, sampling and shuffles (default: 7)")
    add("--format-share", type=int, default=0, metavar="N", help="free generations to judge")
    options = parser.parse_args(argv)

    from empathy_agent.models.resolver import open_backend
    from empathy_trainers.recipe import find_data_dir

    cut = load_cut()
    pool = heldout_posts(find_data_dir(options.data_dir), options.seed)
    if len(pool) < max(options.count, options.format_share, 2):
        raise TrainingDataError(f"the test split holds {len(pool)} long posts; ask for fewer")
    with open_backend(options.model) as backend:
        samples = answer_posts(backend, pool[: options.count], options.seed)
        facts: dict[str, object] = {
            "model": backend.name,
            "seed": options.seed,
            "pool": len(pool),
            "posts": [sample.id for sample in samples],
            "finish": dict(Counter(sample.reply.finish for sample in samples)),
            "quotes": quote_counts(samples),
            "overlap": overlap_counts(samples, pool, cut, options.seed),
        }
        if options.format_share:
            asked = pool[-options.format_share :]
            facts["format_share"] = format_share(backend, asked, Sampling(), options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(markdown(samples, facts), encoding="utf-8")
    write_json(options.out.with_suffix(".json"), facts)


if __name__ == "__main__":
    main()
