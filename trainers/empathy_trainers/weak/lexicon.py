"""The word lists of the weak annotator, read once from the TOML files beside this module.

`emotions.toml` holds the surface forms of each emotion, `cues.toml` the cues of causes, beliefs,
wishes and acts, `phrases.toml` the frames of the free sentences. Lists become one compiled
alternation, longest word first, so that a text is scanned once per list.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, cast

from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import EMOTIONS

Strength = Literal["form", "strong", "cue"]
_KINDS: tuple[tuple[str, Strength], ...] = (
    ("forms", "form"),
    ("strong", "strong"),
    ("cues", "cue"),
)


class Sense(NamedTuple):
    """What a surface form says: an emotion, and how directly."""

    emotion: str
    strength: Strength


class CueType(NamedTuple):
    """A kind of cause, belief or plan: what to look for and how to put it."""

    pattern: re.Pattern[str]
    wordings: tuple[str, ...]


class Lexicon(NamedTuple):
    """Everything the annotator looks up."""

    senses: Mapping[str, tuple[Sense, ...]]
    emotion_pattern: re.Pattern[str]
    negation: re.Pattern[str]
    strong: re.Pattern[str]
    mild: re.Pattern[str]
    weak: re.Pattern[str]
    topics: Mapping[str, re.Pattern[str]]
    relations: re.Pattern[str]
    keywords: re.Pattern[str]
    cause_markers: re.Pattern[str]
    causes: tuple[CueType, ...]
    beliefs: tuple[CueType, ...]
    plans: tuple[CueType, ...]
    supports: Mapping[str, re.Pattern[str]]
    acts: Mapping[str, re.Pattern[str]]
    frames: Mapping[str, tuple[str, ...]]


Table = Mapping[str, object]


def pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Compile an alternation of literal words, the longest first."""
    ordered = sorted(set(words), key=lambda w: (-len(w), w))
    return re.compile("|".join(map(re.escape, ordered)))


@cache
def lexicon() -> Lexicon:
    """Return the lexicon, loaded on the first call.

    Raises:
        ConfigError: A word list names an unknown emotion.
    """
    emotions, cues, phrases = _load("emotions"), _load("cues"), _load("phrases")
    rules = _table(emotions, "_rules")
    senses = _senses(emotions)
    frames = {
        key: _words(phrases, key) for key, value in phrases.items() if isinstance(value, list)
    }
    steps = _table(phrases, "steps")
    frames.update({f"step_{key}": _words(steps, key) for key in steps})
    negations = "|".join(sorted(_words(rules, "negations"), key=len, reverse=True))
    return Lexicon(
        senses=senses,
        emotion_pattern=pattern([*senses, *_words(rules, "traps")]),
        negation=re.compile(
            rf"(?<![特区分离个告])(?:{negations})(?:对[^，]{{1,14}})?(?:觉得|感到|感觉|太|很|是|会|那么|再|怎么|要|用)?$"
        ),
        strong=pattern(_words(rules, "strong_words")),
        mild=pattern(_words(rules, "mild_words")),
        weak=pattern(_words(rules, "weak_words")),
        topics={k: pattern(_words(_table(cues, "topics"), k)) for k in _table(cues, "topics")},
        relations=pattern(_words(_table(cues, "relations"), "words")),
        keywords=pattern(_words(_table(cues, "keywords"), "words")),
        cause_markers=pattern(_words(_table(cues, "causes"), "markers")),
        causes=_types(cues, "causes"),
        beliefs=_types(cues, "beliefs"),
        plans=_types(cues, "plans"),
        supports={
            k: pattern(_words(_table(cues, "supports"), k)) for k in _table(cues, "supports")
        },
        acts={k: pattern(_words(_table(cues, "acts"), k)) for k in _table(cues, "acts")},
        frames=frames,
    )


def _load(name: str) -> Table:
    return tomllib.loads((files(__package__) / f"{name}.toml").read_text(encoding="utf-8"))


def _table(table: Table, key: str) -> Table:
    return cast("Table", table[key])  # our own file, its shape is fixed by the tests


def _words(table: Table, key: str) -> tuple[str, ...]:
    return tuple(cast("list[str]", table[key]))  # our own file, its shape is fixed by the tests


def _types(cues: Table, key: str) -> tuple[CueType, ...]:
    rows = cast("list[list[str]]", _table(cues, key)["types"])  # our own file
    return tuple(CueType(re.compile(row[0]), tuple(row[1:])) for row in rows)


def _senses(emotions: Table) -> Mapping[str, tuple[Sense, ...]]:
    senses: dict[str, tuple[Sense, ...]] = {}
    for emotion in emotions:
        if emotion == "_rules":
            continue
        if emotion not in EMOTIONS:
            raise ConfigError(
                f"emotions.toml names {emotion!r}, which vocabulary.EMOTIONS does not know"
            )
        for key, strength in _KINDS:
            for word in _words(_table(emotions, emotion), key):
                senses[word] = (*senses.get(word, ()), Sense(emotion, strength))
    return senses
