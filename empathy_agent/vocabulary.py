"""The label sets of the chain: ids are English, every id has a Chinese and an English label.

A closed vocabulary is what makes a chain data instead of prose: it can be filtered, counted, declared by a host and
scored. The ids are stable; the labels are what a model writes and a person reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Language = Literal["zh", "en"]
RiskLevel = Literal["none", "watch", "elevated", "imminent"]
Support = Literal["listening", "validation", "understanding", "advice", "information"]
Act = Literal[
    "naming", "understanding", "respecting", "supporting", "exploring", "suggesting", "informing"
]
LayerName = Literal["emotion", "cause", "intention", "strategy"]


class Label(NamedTuple):
    """The two written forms of one id."""

    zh: str
    en: str


def _labels(**labels: tuple[str, str]) -> Mapping[str, Label]:
    return MappingProxyType({key: Label(*forms) for key, forms in labels.items()})


EMOTIONS = _labels(
    anxiety=("焦虑", "anxiety"),
    sadness=("悲伤", "sadness"),
    low_mood=("低落", "low mood"),
    anger=("愤怒", "anger"),
    fear=("恐惧", "fear"),
    shame=("羞耻", "shame"),
    inferiority=("自卑", "inferiority"),
    guilt=("内疚", "guilt"),
    regret=("后悔", "regret"),
    loneliness=("孤独", "loneliness"),
    helplessness=("无助", "helplessness"),
    hopelessness=("绝望", "hopelessness"),
    confusion=("迷茫", "confusion"),
    grievance=("委屈", "grievance"),
    disappointment=("失望", "disappointment"),
    stress=("压力", "stress"),
    exhaustion=("疲惫", "exhaustion"),
    jealousy=("嫉妒", "jealousy"),
    disgust=("厌恶", "disgust"),
    numbness=("麻木", "numbness"),
    distress=("痛苦", "distress"),
    hope=("期待", "hope"),
    relief=("释然", "relief"),
    calm=("平静", "calm"),
)
"""What a seeker may feel (layer 1)."""

SUPPORTS = _labels(
    listening=("倾听", "listening"),
    validation=("认可", "validation"),
    understanding=("理解", "understanding"),
    advice=("建议", "advice"),
    information=("信息", "information"),
)
"""The support a seeker wants (layer 3); one is primary."""

ACTS = _labels(
    naming=("命名感受", "naming"),
    understanding=("理解", "understanding"),
    respecting=("尊重", "respecting"),
    supporting=("支持", "supporting"),
    exploring=("探索", "exploring"),
    suggesting=("建议", "suggesting"),
    informing=("告知", "informing"),
)
"""What a reply does (layer 4): NURSE's five acts, then suggesting and informing."""

RISKS = _labels(
    none=("无", "none"),
    watch=("留意", "watch"),
    elevated=("较高", "elevated"),
    imminent=("紧急", "imminent"),
)
"""Risk levels, rising."""

RISK_ORDER: tuple[RiskLevel, ...] = ("none", "watch", "elevated", "imminent")
LAYERS: tuple[LayerName, ...] = ("emotion", "cause", "intention", "strategy")


def max_risk(*levels: RiskLevel) -> RiskLevel:
    """Return the highest of `levels`, `"none"` for no level at all."""
    return max(levels, key=RISK_ORDER.index, default="none")
