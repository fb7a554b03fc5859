"""What the fake model says: the part that is asked for, and the default line of each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from empathy_agent.backends.requests import Request
from empathy_agent.segments import (
    ALL_TAGS,
    ANSWER_CLOSE,
    ANSWER_OPEN,
    LAYER_OPEN,
    LAYER_TAGS,
    NEWLINE,
    THINK_CLOSE,
    THINK_OPEN,
    Segment,
)

SINGLE_PASS = "single_pass"
_PARTS = {**{LAYER_OPEN[name]: tag for name, tag in LAYER_TAGS.items()}, ANSWER_OPEN: "answer"}
_WORD = r"[^\s，。！？；：、,.!?;:…「」“”\"<>＜＞]"
_CLAUSE = re.compile(f"{_WORD}+(?: {_WORD}+){{1,7}}|{_WORD}{{2,}}")
_CJK = re.compile(r"[\u3400-\u9fff]")

_ZH = {
    "L1": "焦虑(2){quote}；疲惫(1)。处境：这件事压了一段时间，心里一直放不下。",
    "L2": "起因：眼前的这件事{quote}。信念：好像只能一个人扛。",
    "L3": "倾听；理解。想先被听见，再慢慢想接下来怎么办。",
    "L4": "命名感受；理解；支持。先接住这份感受，再问一个轻一点的问题。",
    "answer": "谢谢你愿意说出来。你提到的{quote}，听起来真的不容易，难怪会觉得累。"
    "这些感受都有它的来处，不用急着把它们赶走。如果你愿意，可以多说说最难的是哪一刻吗？",
}
_EN = {
    "L1": "anxiety(2) {quote}; exhaustion(1). Situation: this has weighed on them for a while.",
    "L2": "cause: what is happening right now {quote}. belief: having to carry it alone.",
    "L3": "listening; understanding. They want to be heard before anything else.",
    "L4": "naming; understanding; supporting. Meet the feeling first, then ask gently.",
    "answer": "Thank you for telling me this. What you wrote, {quote}, sounds hard to carry. It "
    "makes sense that it wears on you. No need to hurry it away. Which moment is the hardest?",
}


def part_of(request: Request) -> str:
    """Return the part that `request` asks for: `"L1"` … `"L4"`, `"answer"` or `"single_pass"`."""
    for segment in reversed(request.segments):
        if segment.control and segment.text in ALL_TAGS:
            return _PARTS.get(segment.text, SINGLE_PASS)
    return SINGLE_PASS


def written_so_far(request: Request) -> str:
    """Return what the prompt already holds of the part that is asked for."""
    texts: list[str] = []
    for segment in reversed(request.segments):
        if segment.control:
            return "".join(reversed(texts)) if segment.text in ALL_TAGS else ""
        texts.append(segment.text)
    return "".join(reversed(texts))


def default_line(request: Request) -> str:
    """Return a plausible line for the part that `request` asks for, quoting the post."""
    post = _post(request.segments)
    lines = _ZH if _CJK.search(post) or not post.strip() else _EN
    clause = _CLAUSE.search(post)
    words = clause.group(0)[:40].rstrip() if clause else ""
    quote = "" if not words else f"「{words}」" if lines is _ZH else f'"{words}"'
    part = part_of(request)
    if part != SINGLE_PASS:
        return lines[part].format(quote=quote)
    chain = "".join(
        f"<{tag}>{lines[tag].format(quote=quote)}</{tag}>\n" for tag in ("L1", "L2", "L3", "L4")
    )
    answer = lines["answer"].format(quote=quote)
    is_open = any(one.control and one.text == THINK_OPEN for one in request.segments)
    lead = "" if is_open else f"{THINK_OPEN}\n"
    return f"{lead}{chain}{THINK_CLOSE}\n{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"


def _post(segments: Sequence[Segment]) -> str:
    """Return the last content before the transcript's first tag: the seeker's post."""
    post = ""
    for segment in segments:
        if segment.control and segment.text in ALL_TAGS:
            break
        if not segment.control and segment.text != NEWLINE.text:
            post = segment.text
    return post
