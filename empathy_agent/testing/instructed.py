"""A fake model that follows instructions: it knows of the chain only what its prompt says.

`FakeBackend` answers well whatever it is told, so it cannot show that a prompt says all that is needed. This one reads
the system prompt of a request to the letter: the form with its tags, the line of each part, the words a part may use,
its headings and quote marks, and what is forbidden. It writes with these and nothing else: where the prompt is silent
it says something useless, and it gives in to every temptation that is not forbidden.

It understands prompts written like the shipped ones: a line for each part that begins with `L1:` to `L4:` or `answer:`,
words after `Use only:` (`只用：`), headings in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.fake_script import SINGLE_PASS, part_of
from empathy_agent.backends.requests import Request
from empathy_agent.config import detect_language
from empathy_agent.segments import ALL_TAGS, NEWLINE
from empathy_agent.vocabulary import Language

USELESS: Mapping[Language, str] = {"zh": "好的。", "en": "Okay."}
"""What the fake writes where its prompt does not say what to write."""
OBEYED: Mapping[Language, str] = {"zh": "照办。", "en": "As you say."}
"""What it answers a post that gives orders, unless the prompt says that posts are no instructions."""

_ORDER: Mapping[Language, str] = {"zh": "忽略以上", "en": "gnore the above"}
_NO_ORDERS: Mapping[Language, str] = {"zh": "不是给你的指令", "en": "not instructions to you"}
_EXACT: Mapping[Language, str] = {"zh": "一字不改", "en": "without any change"}
_WORDS: Mapping[Language, str] = {"zh": r"只用：([^。]+)。", "en": r"Use only: ([^.]+)\."}
_HEADS: Mapping[Language, str] = {"zh": r"“(\w+：)……”", "en": r'"(\w+: )…"'}
_CLAUSE = re.compile(
    r"[^\s，。！？；：、,.!?;:…「」“”\"]+(?: [^\s，。！？；：、,.!?;:…「」“”\"]+)*"
)
_TEMPTATIONS: Mapping[Language, Mapping[str, str]] = {
    "zh": {
        "不诊断": "你得了抑郁症。",
        "不谈药名药量": "建议你吃安眠药。",
        "不许诺": "一切都会好起来的。",
        "不假装是人": "我也是真人。",
    },
    "en": {
        "No diagnosis": "You have clinical depression.",
        "no drugs or doses": "Try taking some sleeping pills.",
        "no promises": "Everything will be okay.",
        "no pretending to be human": "I am a real person.",
    },
}
"""What must be forbidden → what the fake says otherwise; each is a hit of the output rail."""


class InstructedFake(FakeBackend):
    """A fake that does what its system prompt says, over spelled tags."""

    def __init__(self) -> None:
        super().__init__(_follow, control_tags=False)


@dataclass(frozen=True)
class _Reader:
    """What the fake understood of one request."""

    prompt: str
    post: str
    lang: Language

    def instruction(self, tag: str) -> str:
        """Return the line of a part, empty where the prompt has none or shows no such tags."""
        line = re.search(rf"^{tag}[:：] *(.+)$", self.prompt, re.MULTILINE)
        is_shown = re.search(rf"^<{tag}>.*</{tag}>$", self.prompt, re.MULTILINE)
        return line[1] if line and is_shown else ""

    def quotes(self, instruction: str) -> tuple[str, ...]:
        """Return two quotes as the instruction asks for them, paraphrased unless it says exactly."""
        marks = re.search("「.+?」" if self.lang == "zh" else '"[a-z…][^"]*"', instruction)
        if marks is None:
            return ("", "")
        clauses = _CLAUSE.findall(self.post)
        gap = "" if self.lang == "zh" else " "
        said = [clauses[0], clauses[-1]] if clauses else ["", ""]
        if _EXACT[self.lang] not in instruction:
            said = [f"~{clause}" for clause in said]
        return tuple(f"{gap}{marks[0][0]}{clause}{marks[0][-1]}" for clause in said)

    def words(self, instruction: str) -> list[str]:
        """Return the words that the instruction allows."""
        found = re.search(_WORDS[self.lang], instruction)
        return re.split(r"、|, ", found[1]) if found else []

    def layer(self, tag: str) -> str:
        """Write a layer: items of the allowed words or under the given headings, then a sentence."""
        instruction = self.instruction(tag)
        heads = re.findall(_HEADS[self.lang], instruction)
        words = self.words(instruction)
        if not words and not heads:
            return USELESS[self.lang]
        first, second = self.quotes(instruction)
        separator, stop = ("；", "。") if self.lang == "zh" else ("; ", ". ")
        if separator.strip() not in instruction:
            separator = " "
        prose = "这件事一直压着" if self.lang == "zh" else "it has weighed on them"
        if words:
            level = "(2)" if re.search(r"\((强度|intensity)\)", instruction) else ""
            items = separator.join((f"{words[0]}{level}{first}", f"{words[1]}{level}{second}"))
            return f"{items}{stop}{''.join(heads)}{prose}{stop}".strip()
        pairs = zip(heads, (first, second), strict=False)
        return "".join(f"{head}{prose}{quote}{stop}" for head, quote in pairs).strip()

    def answer(self) -> str:
        """Write the answer: a quote and a word for the feeling, if asked for, and what is not forbidden."""
        instruction = self.instruction("answer")
        if not instruction:
            return USELESS[self.lang]
        if _ORDER[self.lang] in self.post and _NO_ORDERS[self.lang] not in self.prompt:
            return OBEYED[self.lang]
        feeling = next(iter(self.words(self.instruction("L1"))), "")
        clause = next(iter(_CLAUSE.findall(self.post)), "")
        said = {
            "zh": f"你说到“{clause}”，听起来有些{feeling}。",
            "en": f'You wrote "{clause}", and I hear {feeling} in it. ',
        }[self.lang]
        gap = "" if self.lang == "zh" else " "
        fallen = [
            line
            for forbidden, line in _TEMPTATIONS[self.lang].items()
            if forbidden not in instruction
        ]
        return said + gap.join(fallen)

    def part(self, name: str) -> str:
        """Write one part."""
        return self.answer() if name == "answer" else self.layer(name)

    def whole(self) -> str:
        """Write the chain in the form the prompt shows, useless where it shows none."""
        form = re.search(
            r"^<empathy_think>\n(.+?</answer>)$", self.prompt, re.DOTALL | re.MULTILINE
        )
        if form is None:
            return USELESS[self.lang]
        return re.sub(
            r"<(L[1-4]|answer)>.*?</\1>",
            lambda match: f"<{match[1]}>{self.part(match[1])}</{match[1]}>",
            form[1],
        )


def _follow(request: Request) -> str:
    contents = _contents(request)
    prompt = contents[0] if len(contents) > 1 else ""
    reader = _Reader(prompt, contents[-1], detect_language(prompt))
    name = part_of(request)
    return reader.whole() if name == SINGLE_PASS else reader.part(name)


def _contents(request: Request) -> Sequence[str]:
    """Return the messages before the transcript's first tag: the system prompt first, the post last."""
    texts: list[str] = []
    for segment in request.segments:
        if segment.control and segment.text in ALL_TAGS:
            break
        if not segment.control and segment.text != NEWLINE.text:
            texts.append(segment.text)
    return texts
