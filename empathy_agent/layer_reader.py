"""Read the text of a layer into its typed reading, leniently: no text makes it raise.

A real model strays, so both languages are tried, full and half width alike, and pieces may be
missing. A quote counts only where it is an exact substring of the post; what cannot be read stays
in `text` and its typed field is None. The readers work on a masked copy, in which quotes cannot
split a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, cast, overload

from empathy_agent import layer_grammar as grammar
from empathy_agent.chain import (
    CauseReading,
    Emotion,
    EmotionReading,
    Evidence,
    IntentionReading,
    StrategyReading,
)
from empathy_agent.vocabulary import Act, LayerName, Support

LayerReading = EmotionReading | CauseReading | IntentionReading | StrategyReading
LayerFinish = Literal["stop", "length"]

_HEADER = re.compile(r"^[^:：;；,，。\x00]{0,12}[:：]\s*")
_INTENSITY = re.compile(
    r"[(（\[【]\s*(?:强度|程度|intensity)?\s*[:：]?\s*([1-3１-３])\s*(?:/\s*3)?\s*[)）\]】]"
    r"|^\s*[:：]?\s*([1-3１-３])(?![0-9])",
    re.IGNORECASE,
)
_ANY_PARENTHESES = re.compile(r"[(（][^()（）]*[)）]")
_SEEKING = re.compile(r"^(?:(?:寻求|获得|得到|想要|需要|希望|被|to be|wants?|needs?|seeking)\s*)+")
_NOTHING = frozenset({"无", "没有", "暂无", "不明", "none", "n/a"})
_MAX_LEFTOVER = 12
"""Characters that may follow a label before the piece counts as prose."""


class _Text:
    """A layer's text with its quotes, its masked copy and the post."""

    def __init__(self, text: str, post: str) -> None:
        self.raw = text
        self.post = post
        self.spans = grammar.quote_spans(text)
        self.masked = grammar.mask(text, self.spans)

    def spans_in(self, start: int, end: int) -> list[grammar.Span]:
        return [span for span in self.spans if start <= span.start < end]

    def grounded(self, spans: list[grammar.Span]) -> str | None:
        """Return the first of `spans` that is an exact substring of the post."""
        for span in spans:
            for form in (span.inner, span.inner.strip(), span.inner.strip(" \t，,。.…")):
                if form and form in self.post:
                    return form
        return None


@overload
def read_layer(
    name: Literal["emotion"], text: str, *, post: str, finish: LayerFinish = "stop"
) -> EmotionReading: ...
@overload
def read_layer(
    name: Literal["cause"], text: str, *, post: str, finish: LayerFinish = "stop"
) -> CauseReading: ...
@overload
def read_layer(
    name: Literal["intention"], text: str, *, post: str, finish: LayerFinish = "stop"
) -> IntentionReading: ...
@overload
def read_layer(
    name: Literal["strategy"], text: str, *, post: str, finish: LayerFinish = "stop"
) -> StrategyReading: ...
@overload
def read_layer(
    name: LayerName, text: str, *, post: str, finish: LayerFinish = "stop"
) -> LayerReading: ...
def read_layer(
    name: LayerName, text: str, *, post: str, finish: LayerFinish = "stop"
) -> LayerReading:
    """Read the text of layer `name`; raises on no text.

    Args:
        name: The layer.
        text: What stands between its tags.
        post: The seeker's words, which every quote must be an exact substring of.
        finish: `"length"` where the node closed the layer at its budget.
    """
    # A lone surrogate, which JSON input can smuggle in, is no valid text for pydantic.
    layer = _Text(_valid(text), _valid(post))
    return _READERS[name](layer, finish)


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _read_emotion(layer: _Text, finish: LayerFinish) -> EmotionReading:
    marker = grammar.SITUATION.search(layer.masked)
    end = marker.start() if marker else len(layer.raw)
    emotions, free_from = _leading_emotions(layer, end)
    if not emotions:
        emotions = _scattered_emotions(layer, end)
    situation = None
    if marker:
        situation = grammar.sentence(layer.raw[marker.end() :]) or None
    elif emotions and free_from < end:
        situation = grammar.sentence(layer.raw[free_from:]) or None
    return EmotionReading(
        text=layer.raw,
        finish=finish,
        emotions=tuple(dict.fromkeys(emotions)) or None,
        situation=situation,
    )


def _leading_emotions(layer: _Text, end: int) -> tuple[list[Emotion], int]:
    """Read the item sentences in front; also return where the free sentence begins."""
    emotions: list[Emotion] = []
    for start, stop in grammar.pieces(layer.masked, grammar.SENTENCE_END, 0, end):
        found = [
            _emotion(layer, *borders)
            for borders in grammar.pieces(layer.masked, grammar.LIST_END, start, stop)
        ]
        if found and found[0] is None and emotions:
            return emotions, start
        if found and found[0] is not None:
            emotions += [one for one in found if one is not None]
    return emotions, end


def _scattered_emotions(layer: _Text, end: int) -> list[Emotion]:
    """Read items that follow prose, as in `她感到很焦虑(3)`: here only an intensity makes one."""
    found = (
        _emotion(layer, *borders, anywhere=True)
        for borders in grammar.pieces(layer.masked, grammar.LIST_END, 0, end)
    )
    return [one for one in found if one is not None]


def _emotion(layer: _Text, start: int, end: int, *, anywhere: bool = False) -> Emotion | None:
    head = layer.masked[start:end].strip(" \t\n*•·-.。")
    head = _HEADER.sub("", head) if grammar.EMOTION_LABELS.match(head) is None else head
    if anywhere:
        offset = next((i for i in range(len(head)) if grammar.EMOTION_LABELS.match(head[i:])), 0)
        head = head[offset:]
    match = grammar.EMOTION_LABELS.match(head)
    if match is None:
        return None
    key, rest = match
    level = _INTENSITY.search(rest)
    leftover = _ANY_PARENTHESES.sub("", rest).replace(grammar.MASK, "").strip()
    if len(leftover) > _MAX_LEFTOVER or (anywhere and level is None):
        return None
    # The pattern admits the digits 1 to 3 only, in either width.
    intensity = cast("Literal[1, 2, 3]", int(level[1] or level[2])) if level else None
    quote = layer.grounded(layer.spans_in(start, end))
    return Emotion(id=key, intensity=intensity, quote=quote)


def _read_cause(layer: _Text, finish: LayerFinish) -> CauseReading:
    found: dict[str, list[Evidence] | None] = {"cause": None, "belief": None}
    markers = list(grammar.EVIDENCE.finditer(layer.masked))
    borders = [marker.start() for marker in markers[1:]] + [len(layer.raw)]
    for marker, limit in zip(markers, borders, strict=False):
        kind = marker.lastgroup or "cause"
        first = next(grammar.pieces(layer.masked, grammar.SENTENCE_END, marker.end(), limit), None)
        if first is None:
            continue
        chunk = layer.raw[first[0] : first[1]].strip()
        items = [
            item
            for piece in grammar.pieces(layer.masked, grammar.ITEM_END, *first)
            if (item := _evidence(layer, *piece)) is not None
        ]
        if items or chunk.lower() in _NOTHING:
            found[kind] = [*(found[kind] or []), *items]
    return CauseReading(
        text=layer.raw,
        finish=finish,
        causes=_tuple(found["cause"]),
        beliefs=_tuple(found["belief"]),
    )


def _tuple(items: list[Evidence] | None) -> tuple[Evidence, ...] | None:
    return None if items is None else tuple(dict.fromkeys(items))


def _evidence(layer: _Text, start: int, end: int) -> Evidence | None:
    spans = layer.spans_in(start, end)
    prose_end = end
    for span in reversed(spans):
        if layer.masked[span.end : prose_end].strip(" \t,，、.。()（）"):
            break
        prose_end = span.start
    text = grammar.tidy(layer.raw[start:prose_end])
    if text.lower() in _NOTHING:
        return None
    text = text or next((tidied for span in spans if (tidied := grammar.tidy(span.inner))), "")
    return Evidence(text=text, quote=layer.grounded(spans)) if text else None


def _labels(layer: _Text, labels: grammar.LabelReader) -> tuple[str, ...]:
    """Read the labels that the first sentence lists, up to the first piece that is none."""
    first = next(grammar.pieces(layer.masked, grammar.SENTENCE_END, 0, len(layer.raw)), None)
    found: list[str] = []
    for start, end in grammar.pieces(layer.masked, grammar.LIST_END, *(first or (0, 0))):
        piece = _HEADER.sub("", layer.masked[start:end].strip(" \t*•·-"))
        match = labels.match(_SEEKING.sub("", piece))
        if match is None or _ANY_PARENTHESES.sub("", match[1]).strip(" \t.。:：!！"):
            break
        found.append(match[0])
    return tuple(dict.fromkeys(found))


def _read_intention(layer: _Text, finish: LayerFinish) -> IntentionReading:
    # The labels come from the closed vocabulary that `Support` spells out.
    found = cast("tuple[Support, ...]", _labels(layer, grammar.SUPPORT_LABELS))
    primary = found[0] if found else None
    return IntentionReading(text=layer.raw, finish=finish, primary=primary, others=found[1:])


def _read_strategy(layer: _Text, finish: LayerFinish) -> StrategyReading:
    # The labels come from the closed vocabulary that `Act` spells out.
    found = cast("tuple[Act, ...]", _labels(layer, grammar.ACT_LABELS))
    return StrategyReading(text=layer.raw, finish=finish, acts=found or None)


_READERS: dict[LayerName, Callable[[_Text, LayerFinish], LayerReading]] = {
    "emotion": _read_emotion,
    "cause": _read_cause,
    "intention": _read_intention,
    "strategy": _read_strategy,
}
