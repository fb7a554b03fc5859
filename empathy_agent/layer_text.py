"""The text form of each layer, both ways: `write_*` makes it, `read_layer` reads it back.

Items come first (`焦虑(3)「…」；孤独(2)「…」`), then one free sentence; DESIGN's example shows
all four layers in both languages. Training data is written by these functions and nodes that fill
a layer without a model use them too, so that what a model sees in serving is what it saw in
training. Typed fields in normal form (one line, no separator within an item, no closing full
stop) survive write and read; an empty list reads back as None, and a quote that no pair of marks
can hold is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from empathy_agent import layer_grammar as grammar
from empathy_agent.chain import Emotion, Evidence
from empathy_agent.layer_reader import LayerFinish, LayerReading, read_layer
from empathy_agent.vocabulary import ACTS, EMOTIONS, SUPPORTS, Act, Label, Language, Support

__all__ = [
    "LayerFinish",
    "LayerReading",
    "read_layer",
    "write_cause",
    "write_emotion",
    "write_intention",
    "write_strategy",
]

_CORNER, _CURLY, _WHITE, _STRAIGHT = ("「", "」"), ("“", "”"), ("『", "』"), ('"', '"')
_MARKS: Mapping[Language, tuple[tuple[str, str], ...]] = {
    "zh": (_CORNER, _CURLY, _WHITE, _STRAIGHT),
    "en": (_STRAIGHT, _CURLY, _CORNER, _WHITE),
}
_OWN_STOP = ("？", "！", "…", "?", "!")


def write_emotion(emotions: Sequence[Emotion], situation: str | None, lang: Language) -> str:
    """Write layer 1, the emotions and their situation: `焦虑(3)「…」；孤独(2)「…」。处境：…。`."""
    items = []
    for emotion in emotions:
        label = _label(EMOTIONS, emotion.id, lang)
        level = f"({emotion.intensity})" if emotion.intensity is not None else ""
        items.append(f"{label}{level}{_quoted(emotion.quote, lang)}")
    context = grammar.sentence(situation or "")
    head = "处境：" if lang == "zh" else "Situation: "
    return _join([_items(items, lang)], head + context if context else "", lang)


def write_cause(
    causes: Sequence[Evidence],
    beliefs: Sequence[Evidence],
    sentence: str | None,
    lang: Language,
) -> str:
    """Write layer 2: `起因：…「…」；…。信念：…「…」。` and one free sentence."""
    heads = ("起因：", "信念：") if lang == "zh" else ("Cause: ", "Belief: ")
    parts = []
    for head, evidence in zip(heads, (causes, beliefs), strict=True):
        items = [
            f"{text}{_quoted(one.quote, lang)}"
            for one in evidence
            if (text := grammar.tidy(one.text))
        ]
        parts.append(head + _items(items, lang) if items else "")
    return _join(parts, sentence, lang)


def write_intention(
    primary: Support, others: Sequence[Support], sentence: str | None, lang: Language
) -> str:
    """Write layer 3: the kinds of support, the primary first, and one free sentence."""
    items = [_label(SUPPORTS, key, lang) for key in dict.fromkeys((primary, *others))]
    return _join([_items(items, lang)], sentence, lang)


def write_strategy(acts: Sequence[Act], sentence: str | None, lang: Language) -> str:
    """Write layer 4: the acts in their order, and one free sentence."""
    items = [_label(ACTS, key, lang) for key in dict.fromkeys(acts)]
    return _join([_items(items, lang)], sentence, lang)


def _label(labels: Mapping[str, Label], key: str, lang: Language) -> str:
    label = labels.get(key)
    if label is None:
        return grammar.tidy(key)
    return label.zh if lang == "zh" else label.en


def _quoted(quote: str | None, lang: Language) -> str:
    if not quote or not quote.strip():
        return ""
    for opening, closing in _MARKS[lang]:
        if opening not in quote and closing not in quote:
            return f"{'' if lang == 'zh' else ' '}{opening}{quote}{closing}"
    return ""


def _items(items: Sequence[str], lang: Language) -> str:
    return ("；" if lang == "zh" else "; ").join(items)


def _join(parts: Sequence[str], free: str | None, lang: Language) -> str:
    """Close every part by a full stop and add the free sentence, which may bring its own mark."""
    stop = "。" if lang == "zh" else "."
    closed = [part + stop for part in parts if part]
    if last := grammar.sentence(free or ""):
        closed.append(last if last.endswith(_OWN_STOP) else last + stop)
    return ("" if lang == "zh" else " ").join(closed)
