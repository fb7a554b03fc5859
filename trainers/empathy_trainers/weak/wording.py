"""Rewrite a seeker's clause: a quote of fitting length, a neutral wording without "I".

A quote is cut, never changed. A neutral wording leaves the subject out where it was "I" and
otherwise says 自己 or TA, so that the layer speaks of the seeker without guessing who they are.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from empathy_trainers.weak.lexicon import lexicon
from empathy_trainers.weak.sentences import Clause

QUOTE_CHARS: Final = (4, 24)
_LEAD: Final = re.compile(
    r"^(?:但是|但|却|可是|可(?!能|以|怕|惜|爱|怜|笑)|不过|然后|所以|而且|因为|因此|而|并且|后来|于是|结果|其实|甚至|就是|"
    r"以及|还有|同时|另外|只是|而是|毕竟|虽然|由于|导致|使得|是因为|反正|总之|不仅|尤其是?|特别是|比如|例如|那么|确实|"
    r"那(?!个|种|时|些|样|天|年|段|边|里)|也(?!许|是)|又|还(?!是|有|没|在)|都(?!是)|就(?!是|算|读|业|在|快)|再(?!也|次))+"
)
_SUBJECT: Final = re.compile(
    r"^(?:我(?!的)(?:自己)?(?:真的|就|也|又|还(?!是|有|没|在)|都|其实|确实|只是)*|自己|本人|俺)"
)
_TAIL: Final = re.compile(r"[啊呀呢吧嘛哦哈啦呜]+$")
_KIN: Final = re.compile(
    r"我(?:的)?(爸爸|妈妈|妈|爸|父母|父亲|母亲|老公|老婆|男朋友|女朋友|男友|女友|弟弟|妹妹|弟|妹|姐姐|哥哥|姐|哥|"
    r"奶奶|爷爷|外婆|外公|孩子|儿子|女儿|朋友|闺蜜|室友|同学|同桌|老师|领导|老板|对象|家|婆婆|公公|前任|前男友|前女友)"
)
_FULL_KIN: Final = {
    "妈": "妈妈",
    "爸": "爸爸",
    "弟": "弟弟",
    "妹": "妹妹",
    "姐": "姐姐",
    "哥": "哥哥",
}
_OTHERS_FIRST: Final = re.compile(
    r"^(?:他|她|它|对方|别人|大家|有人|爸|妈|父|母|老|男|女|孩|同学|朋|室|领|婆|对象|前男|前女|家)"
)


def pick(options: tuple[str, ...], seed_key: str, slot: str) -> str:
    """Choose one option by a hash of the record and the slot."""
    draw = blake2b(f"{seed_key}\x1f{slot}".encode(), digest_size=4).digest()
    return options[int.from_bytes(draw) % len(options)]


def quote_of(
    text: str, clause: Clause, start: int | None = None, end: int | None = None
) -> str | None:
    """Return a quotable stretch of `clause` around `text[start:end]`, or None if none fits.

    A long clause is cut where its leading connective ends or around the part to keep; a short one
    grows over the comma before it.
    """
    low, high = clause.start, clause.end
    lead = _LEAD.match(clause.text)
    keep_to = clause.end if end is None else end
    if (
        lead
        and (start is None or low + lead.end() <= start)
        and high - low - lead.end() >= QUOTE_CHARS[0] + 2
    ):
        low += lead.end()
    keep_from = low if start is None else max(start, low)
    if high - low > QUOTE_CHARS[1]:
        low, high = _window(low, high, keep_from, min(keep_to, keep_from + QUOTE_CHARS[1]))
    if high - low < QUOTE_CHARS[0]:
        low = _grow(text, low, high)
    if high - low < QUOTE_CHARS[0]:
        high = _grow_right(text, low, high)
    quote = text[low:high]
    if not QUOTE_CHARS[0] <= len(quote) <= QUOTE_CHARS[1] or re.search(r"[\n「」“”\"]", quote):
        return None
    return quote


def _window(low: int, high: int, keep_from: int, keep_to: int) -> tuple[int, int]:
    room = QUOTE_CHARS[1]
    if keep_to - low <= room and not (keep_from <= low and keep_to >= high):
        return low, max(keep_to, low + min(room, keep_to - low))
    if high - keep_from <= room:
        return keep_from, high
    return keep_from, min(high, keep_from + room)


def _grow(text: str, low: int, high: int) -> int:
    start = low
    while (
        start > 0
        and text[start - 1] not in '。！？!?；;…\n「」“”"'
        and high - start < QUOTE_CHARS[1]
    ):
        start -= 1
        if text[start] in "，,、 " and high - start - 1 >= QUOTE_CHARS[0]:
            return start + 1
    at_border = start == 0 or text[start - 1] in "。！？!?；;…\n”"
    return start if at_border else low


def _grow_right(text: str, low: int, high: int) -> int:
    """Take in the clause after the comma, if all of it fits."""
    if high >= len(text) or text[high] not in "，,、":
        return high
    end = high + 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return end if end > high + 1 and end - low <= QUOTE_CHARS[1] else high


def neutral(clause: str) -> str:
    """Put a clause without its connective, first-person subject and closing particle."""
    words = _TAIL.sub("", _LEAD.sub("", clause))
    words = _KIN.sub(lambda m: _FULL_KIN.get(m.group(1), m.group(1)), words)
    words = words.replace("我们", "彼此").replace("咱们", "彼此")
    bare = _SUBJECT.sub("", words)
    bare = bare.replace("我自己", "自己").replace("我的", "自己的")
    return bare.replace("我", "TA" if _OTHERS_FIRST.match(bare) else "自己")


def who_in(text: str, default: str = "对方") -> str:
    """Return the first person a text speaks of."""
    found = lexicon().relations.search(text)
    if not found:
        return default
    word = found.group()
    return {"我妈": "妈妈", "我爸": "爸爸", "他们": default}.get(word, word)
