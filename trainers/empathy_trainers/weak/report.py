"""Measure the weak labels: share kept, exact quotes, agreement, variety, lengths.

    python -m empathy_trainers.weak.report --data-dir DIR --split valid --limit 2000

Prints figures only, never a text of the corpus. There is no gold chain to compare with; the
agreement figures say how far two independent readings coincide, and how the lexicon does on small
emotion sets that others labelled.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from empathy_trainers.data.lct import LctRecord, iter_lct
from empathy_trainers.data.splits import Split
from empathy_trainers.weak.annotate import ChainLayers, annotate
from empathy_trainers.weak.emotions import find_hits, named_by_supporter, scores
from empathy_trainers.weak.outside import SETS, measure
from empathy_trainers.weak.screening import speaks_of_death

Write = Callable[[str], object]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the report from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m empathy_trainers.weak.report", description=__doc__
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "valid", "test"), default="valid")
    parser.add_argument("--limit", type=int, default=2000, help="long texts to read")
    options = parser.parse_args(argv)
    report(
        options.data_dir, options.split, options.limit, lambda line: sys.stdout.write(line + "\n")
    )
    return 0


def report(data_dir: Path, split: Split, limit: int, write: Write) -> None:
    """Write the figures of one split and of the outside sets, line by line."""
    records = [record for record, _ in zip(iter_lct(data_dir, split), range(limit), strict=False)]
    calm = [record for record in records if not speaks_of_death(record.question)]
    started = time.perf_counter()
    pairs = [
        (record, annotate(record.question, record.answers[0].text, record.id)) for record in calm
    ]
    seconds = time.perf_counter() - started
    kept = [(record, layers) for record, layers in pairs if layers]
    write(f"long texts: {len(records)}; left out for danger: {len(records) - len(calm)}")
    write(
        f"kept: {len(kept)} ({_share(len(kept), len(calm))} of the rest); "
        f"{len(calm) / max(seconds, 1e-9):.0f}/s"
    )
    _quotes(kept, write)
    _labels([layers for _, layers in kept], write)
    _agreement(calm, write)
    _variety([layers for _, layers in kept], write)
    _lengths(kept, write)
    for name, one in SETS.items():
        write(f"outside set {name}: {measure(one, data_dir)}")


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"


def _quotes(kept: Sequence[tuple[LctRecord, ChainLayers]], write: Write) -> None:
    quotes = [(quote in record.question) for record, layers in kept for quote in layers.quotes()]
    sizes = [len(quote) for _, layers in kept for quote in layers.quotes()]
    with_cause = sum(any(e.quote for e in (*layers.causes, *layers.beliefs)) for _, layers in kept)
    felt = sum(bool(layers.emotions[0].quote) for _, layers in kept)
    write(
        f"quotes: {len(quotes)}, exact {_share(sum(quotes), len(quotes))}, "
        f"{_spread(sizes)} characters"
    )
    write(
        f"records with a quote in L1: {_share(felt, len(kept))}, "
        f"in L2: {_share(with_cause, len(kept))}, with a belief: "
        f"{_share(sum(bool(x.beliefs) for _, x in kept), len(kept))}"
    )


def _labels(layers: Sequence[ChainLayers], write: Write) -> None:
    write("first emotion: " + _counts(x.emotions[0].id for x in layers))
    write("any emotion: " + _counts(e.id for x in layers for e in x.emotions))
    write("intensity: " + _counts(str(e.intensity) for x in layers for e in x.emotions))
    write("primary support: " + _counts(x.support for x in layers))
    write("acts: " + _counts(act for x in layers for act in x.acts))


def _agreement(records: Sequence[LctRecord], write: Write) -> None:
    """Compare the post read alone with what the reply names; chance takes another's reply."""
    both: list[tuple[set[str], str]] = []
    for record in records:
        weights = scores(find_hits(record.question), Counter())
        named = named_by_supporter(record.answers[0].text)
        if weights and named:
            top = sorted(weights, key=lambda e: (-weights[e], e))[:3]
            both.append((set(top), named.most_common(1)[0][0]))
    shifted = [(top, both[i - 1][1]) for i, (top, _) in enumerate(both)]
    write(
        f"emotion the reply names most is among the post's three: {_agree(both)} of {len(both)}; "
        f"by chance {_agree(shifted)}"
    )


def _agree(pairs: Sequence[tuple[set[str], str]]) -> str:
    return _share(sum(named in top for top, named in pairs), len(pairs))


def _variety(layers: Sequence[ChainLayers], write: Write) -> None:
    parts = {
        "L1 situation": [x.l1.partition("处境：")[2] for x in layers],
        "L2": [x.l2 for x in layers],
        "L3": [x.l3 for x in layers],
        "L4": [x.l4 for x in layers],
    }
    for name, texts in parts.items():
        counts = Counter(texts)
        most = max(counts.values(), default=0)
        write(
            f"{name}: {_share(len(counts), len(texts))} distinct, "
            f"commonest {_share(most, len(texts))}"
        )


def _lengths(kept: Sequence[tuple[LctRecord, ChainLayers]], write: Write) -> None:
    write(
        f"post: {_spread([len(r.question) for r, _ in kept])}; "
        f"answer: {_spread([len(r.answers[0].text) for r, _ in kept])}"
    )
    for name in ("l1", "l2", "l3", "l4"):
        write(f"{name.upper()}: {_spread([len(getattr(x, name)) for _, x in kept])}")


def _spread(sizes: Sequence[int]) -> str:
    ordered = sorted(sizes) or [0]
    median, p95 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.95))
    return f"median {median}, p95 {p95}, most {ordered[-1]}"


def _counts(keys: Iterable[str]) -> str:
    counts = Counter(keys)
    whole = sum(counts.values())
    return ", ".join(f"{key} {_share(count, whole)}" for key, count in counts.most_common())


if __name__ == "__main__":
    raise SystemExit(main())
