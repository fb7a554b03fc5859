"""Find phone numbers in a model's words that no region pack vouches for.

A model must never quote a help line from its data: such numbers are often wrong, dead or those of
another country. A run of digits counts as a phone number by its shape (seven digits and more,
service numbers such as 12355) or, from three digits on, by the words next to it; years, amounts and
durations do not.
"""

from __future__ import annotations

import re

_HAN_DIGITS = str.maketrans("零〇一二三四五六七八九幺", "001234567891")
_HAN_RUN = re.compile("[零〇一二三四五六七八九幺]{3,20}")
_RUN = re.compile(r"(?<![\d.])\+?(?:\(\d{2,4}\) ?)?\d(?:[ \-.]{0,2}\d){2,24}")
_DATES = re.compile(
    r"(?:19|20)\d\d ?[-/.~] ?(?:(?:19|20)\d\d|[01]?\d(?: ?[-/.] ?[0-3]?\d)?)"
    r"|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,3}\.\d+|\d{1,2} ?[-~] ?\d{1,3}"
)
_BEFORE = re.compile(
    r"(?:拨打?|打给|热线|电话|致电|求助|号码|专线|联系|(?:请|就|要|马上|可以|立刻|赶紧|快)打"
    r"|call(?:ing)?|dial(?:ing)?|text(?:ing)?"
    r"|phone|hotline|helpline|lifeline|numbers?|contact|ring|reach|line)[^。\d]{0,14}$"
)
_AFTER = re.compile(r"^[^。\d]{0,8}(?:热线|电话|求助|hotline|helpline|lifeline|crisis|for help)")
_UNIT = re.compile(
    r"^ ?(?:年|月|日|号(?!码)|天|岁|元|块|万|千|百|分|秒|个|次|人|小时|页|字"
    r"|米|公里|步|斤|%|多|左右|遍|句|条|篇|公斤|度"
    r"|years?|days?|weeks?|months?|times|people|persons|minutes?|mins?|seconds"
    r"|hours?|words?|dollars|percent|pages|steps|miles|s\b)"
)
_SERVICE = re.compile(r"12[03]\d\d|95\d{3}|400\d{7}|800\d{7}|96\d{3,4}")


def _is_phone(plain: str, match: re.Match[str], digits: str) -> bool:
    before, after = (
        plain[max(0, match.start() - 24) : match.start()],
        plain[match.end() : match.end() + 20],
    )
    if _UNIT.match(after) or _DATES.fullmatch(match.group()):
        return False
    if len(digits) >= 7 or _SERVICE.fullmatch(digits):
        return True
    return bool(_BEFORE.search(before) or _AFTER.match(after))


def has_foreign_number(plain: str, allowed: frozenset[str], *, skip: int = 0) -> bool:
    """Whether a text in plain form holds a phone number that is not in `allowed`.

    Args:
        plain: The text, as `text.normalise` returns it.
        allowed: Numbers that may stand, digits only.
        skip: Numbers that end at or before this offset are not looked at.
    """
    arabic = _HAN_RUN.sub(lambda match: match.group().translate(_HAN_DIGITS), plain)
    for match in _RUN.finditer(arabic):
        digits = re.sub(r"\D", "", match.group())
        if match.end() > skip and digits not in allowed and _is_phone(arabic, match, digits):
            return True
    return False
