"""Bring written text into one plain form that rules can match, in time linear in its length.

People in distress, and people who test a filter, write with full-width letters, zero-width
characters, emoji inside words, spaced-out characters or traditional forms. `normalise` undoes these
and leaves two delimiters only: `。` ends a sentence, `，` a clause. `spans` then cuts this into
short pieces with an overlap where a piece had to be cut by force. The plain form is for
matching alone and is never shown or stored.
"""

from __future__ import annotations

import re
import unicodedata

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
WINDOW_CHARS = 320
"""A piece longer than this is cut by force."""
OVERLAP_CHARS = 64
"""How much of the end of a forced cut is repeated; no pattern is meant to span more."""

_TRADITIONAL = (
    "殺杀輕轻結结遺遗書书樓楼藥药繩绳燒烧離离開开這这個个們们沒没還还來来說说過过會会對对準准備备決决寫写後后無无義义絕绝傷伤媽妈"
    "強强姦奸買买為为從从橋桥陽阳臺台頂顶劃划計计給给東东貓猫訴诉別别見见謝谢時时間间發发現现讓让誰谁撐撑堅坚續续覺觉夠够鎮镇靜静"
    "難难農农聽听電电話话斷断麼么嗎吗愛爱幾几當当實实樣样體体頭头氣气熱热餓饿煩烦嚇吓凍冻學学師师親亲處处於于與与將将應应該该總总"
    "點点壓压戲戏劇剧試试驗验診诊療疗憂忧鬱郁癥症諮咨詢询戶户墜坠崗岗訣诀賬账虐虐鎖锁綁绑罵骂踢踢網网歲岁號号線线獨独關关願愿"
    "邊边遠远雙双礙碍顆颗業业專专證证單单熱热連连許许諾诺維维劑剂種种動动認认識识經经歷历嘗尝嬰婴爺爷奶奶廢废煤煤負负擔担"
)
_SIMPLE = {ord(_TRADITIONAL[i]): _TRADITIONAL[i + 1] for i in range(0, len(_TRADITIONAL), 2)}
_MARKS = {
    **dict.fromkeys(map(ord, "!?;。！？；\n\r\u2028\u2029\u0085"), "。"),
    **dict.fromkeys(map(ord, ",，、:："), "，"),
    **dict.fromkeys(map(ord, "“「『«〝《"), "“"),
    **dict.fromkeys(map(ord, "”」』»〞》"), "”"),
    **dict.fromkeys(map(ord, "’‘`´ʼ"), "'"),
    **dict.fromkeys(map(ord, "–—―−‐‑"), "-"),
    **dict.fromkeys(map(ord, "\t\u3000\u00a0"), " "),
}
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u0300-\u036f\u061c\u115f\u1160\u180e"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffd\U0001f000-\U0001faff\U000e0000-\U000e0fff]+"
)
_NOISE = re.compile(rf"(?<=[{_HAN}])[ .*_\-~·•/|#+=^…@&%$\\]+(?=[{_HAN}])")
_SPACED_HAN = re.compile(rf"(?<![{_HAN}])(?:[{_HAN}][。， .“”']{{1,3}}){{2,}}[{_HAN}](?![{_HAN}])")
_SPACED_LATIN = re.compile(r"(?<![a-z0-9'])(?:[a-z][ .*_\-]{1,2}){3,}[a-z](?![a-z0-9'])")
_SEPARATOR = re.compile(r"[^\w]+|_+")
_FULL_STOP = re.compile(rf"\.+(?=\s|$|[{_HAN}])|…+")
_SPACES = re.compile(r" {2,}")
_SENTENCE = re.compile("[^。]+")


def _join(match: re.Match[str]) -> str:
    return _SEPARATOR.sub("", match.group())


def normalise(text: str) -> str:
    """Return the plain form of `text`.

    NFKC, lower case, simplified key characters, two delimiters, no invisible marks.
    """
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text).translate(_MARKS)).lower()
    plain = _INVISIBLE.sub("", plain).translate(_MARKS).translate(_SIMPLE)
    plain = _SPACED_HAN.sub(_join, plain)
    plain = _SPACED_LATIN.sub(_join, plain)
    plain = _NOISE.sub("", plain)
    return _SPACES.sub(" ", _FULL_STOP.sub("。", plain))


def spans(plain: str) -> list[tuple[int, int]]:
    """Return the sentences of a plain text as offsets, long ones in overlapping windows."""
    found = []
    for match in _SENTENCE.finditer(plain):
        first, end = match.span()
        for start in range(
            first, max(first + 1, end - OVERLAP_CHARS), WINDOW_CHARS - OVERLAP_CHARS
        ):
            found.append((start, min(end, start + WINDOW_CHARS)))
    return found
