"""Small emotion sets labelled by others, to test the post-side lexicon against a baseline.

Their label sets are coarser or other than ours, so each of their labels stands for several of our
ids. Our vocabulary has no joy; rows of positive and neutral labels are therefore left out of the
comparison and counted as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from empathy_trainers.data.splits import read_jsonl
from empathy_trainers.weak.emotions import find_hits, scores

Labelled = Iterator[tuple[str, str]]

_COARSE: Final[Mapping[str, tuple[str, ...]]] = {
    "anger": ("anger", "disgust", "jealousy"),
    "fear": ("fear", "anxiety", "stress"),
    "sadness": (
        "sadness", "low_mood", "loneliness", "helplessness", "hopelessness", "disappointment",
        "regret", "guilt", "shame", "inferiority", "grievance", "distress", "exhaustion",
        "numbness", "confusion",
    ),
}  # fmt: skip
_FINE: Final[Mapping[str, tuple[str, ...]]] = {
    "anger": ("anger", "jealousy"),
    "disgust": ("disgust",),
    "fear": ("fear",),
    "worried": ("anxiety", "stress", "confusion"),
    "sadness": ("sadness", "guilt", "regret", "distress"),
    "depress": (
        "low_mood", "disappointment", "helplessness", "hopelessness", "inferiority", "loneliness",
        "grievance", "exhaustion", "numbness", "shame",
    ),
}  # fmt: skip


class EmotionSet:
    """One labelled set: how to read it and what its labels mean in our ids."""

    def __init__(
        self, load: Callable[[Path], Labelled], meaning: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.load = load
        self.meaning = meaning
        self.label_of = {ours: theirs for theirs, many in meaning.items() for ours in many}


def _personas(name: str) -> Callable[[Path], Labelled]:
    def load(data_dir: Path) -> Labelled:
        for row in read_jsonl(data_dir / "empathetic_personas" / f"{name}.jsonl.xz"):
            yield str(row["text"]), str(row["emotion"])

    return load


def _cped(data_dir: Path) -> Labelled:
    for row in read_jsonl(data_dir / "cped" / "cped_valid_test.jsonl.xz"):
        utterances = row["utterances"]
        for one in utterances if isinstance(utterances, list) else ():
            yield str(one["text"]), str(one["emotion"])


SETS: Final[Mapping[str, EmotionSet]] = {
    "emotion_zh": EmotionSet(_personas("emotion_zh"), _COARSE),
    "ep_native": EmotionSet(_personas("ep_native"), _COARSE),
    "cped": EmotionSet(_cped, _FINE),
}


def predict(text: str, one: EmotionSet) -> str | None:
    """Return the set's label for what is strongest in `text`, None where nothing is found."""
    totals: dict[str, float] = {}
    for ours, weight in scores(find_hits(text), Counter()).items():
        if ours in one.label_of:
            label = one.label_of[ours]
            totals[label] = totals.get(label, 0.0) + weight
    return max(totals, key=lambda name: (totals[name], name)) if totals else None


def f1_table(pairs: list[tuple[str, str | None]]) -> str:
    """Put the figures of `(label, prediction)` pairs and their majority baseline in one line."""
    labels = sorted({label for label, _ in pairs})
    counts = Counter(label for label, _ in pairs)
    covered = [(label, guess) for label, guess in pairs if guess is not None]
    right = sum(label == guess for label, guess in covered)
    majority = max(counts.values()) / len(pairs)
    base_f1 = 2 * majority / (1 + majority) / len(labels)
    f1 = sum(_f1(pairs, label) for label in labels) / len(labels)
    common = max(Counter(label for label, _ in covered).values(), default=0) / max(len(covered), 1)
    return (
        f"{len(pairs)} rows of {len(labels)} labels, covered {len(covered) / len(pairs):.1%}; "
        f"accuracy {right / len(pairs):.1%} (majority {majority:.1%}), "
        f"where covered {right / max(len(covered), 1):.1%} (majority there {common:.1%}); "
        f"macro F1 {f1:.3f} (majority {base_f1:.3f})"
    )


def measure(one: EmotionSet, data_dir: Path) -> str:
    """Measure the lexicon on one set, repeated rows counted once."""
    rows = dict.fromkeys(one.load(data_dir))
    return f1_table([(label, predict(text, one)) for text, label in rows if label in one.meaning])


def _f1(pairs: list[tuple[str, str | None]], label: str) -> float:
    both = sum(truth == guess == label for truth, guess in pairs)
    either = sum(truth == label for truth, _ in pairs) + sum(guess == label for _, guess in pairs)
    return 2 * both / either if either else 0.0
