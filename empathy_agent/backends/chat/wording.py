"""The question that follows the conversation: what is to be written now, in the conversation's language.

The instructions of a part come with the request; the short ones here stand in where they do not. They describe the
text of a layer, so a question for structured output adds where each piece of it goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empathy_agent.backends.chat.conversation import Asked
from empathy_agent.backends.requests import PartName
from empathy_agent.segments import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    LAYER_CLOSE,
    LAYER_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
)
from empathy_agent.vocabulary import LAYERS, Language, LayerName


@dataclass(frozen=True)
class _Words:
    titles: Mapping[PartName, str]
    instructions: Mapping[PartName, str]
    opening: str
    so_far: str
    form: str
    schema: str
    begun: str
    problems: str
    answer: str
    single_pass: str


_ZH: Final = _Words(
    titles={
        "emotion": "情绪与处境",
        "cause": "起因与信念",
        "intention": "想要的支持",
        "strategy": "回应的打算",
        "answer": "回复",
    },
    instructions={
        "emotion": "一到三种情绪，各带强度（1轻 2明显 3强）和对方原话，再用一句话写处境。",
        "cause": "是什么引起的，带对方原话；有明显的想法或信念也写出来，带原话。不下诊断。",
        "intention": "对方最想要的支持，其次还想要的，再用一句话说明。没有求建议就不要写建议。",
        "strategy": "回应时依次做什么，再用一句话说明打算怎么做。",
        "answer": "先接住对方的感受，提到对方说过的具体事情，再按打算回应。不说教，不诊断，不许诺，不假装是人。",
    },
    opening="以上是对话，对方的最后一条消息就是要读懂的文字。",
    so_far="已经写好的部分：",
    form="现在写下面的部分，把每一样填进规定的字段，不管排版：quote 只放对方原话，一字不改，没有就空着；"
    "其余用中文，简短。",
    schema="只写一个 JSON 对象，前后什么都不加，符合这个 JSON Schema：",
    begun="这一部分的开头已经写好，只接着往下写，不要重复：",
    problems="上一次的回答不能用，请改正后重新作答。问题：",
    answer="现在写给对方的回复，最多约{budget}字。只写回复正文，不加标签、标题或解释。",
    single_pass="现在写出整条共情链和回复，严格照下面的形式，标签一个也不能少，标签外什么都不写：",
)
_EN: Final = _Words(
    titles={
        "emotion": "Emotions and situation",
        "cause": "Causes and beliefs",
        "intention": "Support wanted",
        "strategy": "Plan of the reply",
        "answer": "Reply",
    },
    instructions={
        "emotion": "One to three emotions, each with its intensity (1 slight, 2 clear, 3 strong) and the person's own "
        "words, then the situation in one sentence.",
        "cause": "What led to it, with the person's own words; thoughts or beliefs that stand out, likewise. "
        "Never diagnose.",
        "intention": "The support they want most, then others, and one sentence. No advice if nobody asked for it.",
        "strategy": "What the reply does, in order, and one sentence on how.",
        "answer": "Receive the feeling first, mention concrete things they said, then do what is planned. No lecture, "
        "no diagnosis, no promises, no pretending to be human.",
    },
    opening="This was the conversation; the person's last message is the text to understand.",
    so_far="Already written:",
    form="Now write the following, each piece in the field that is given for it, whatever the layout: in "
    "quote the person's words without any change or nothing; the rest in English, briefly.",
    schema="Write one JSON object and nothing before or after it, after this JSON Schema:",
    begun="This part begins as follows; only go on from there, repeat nothing:",
    problems="The last answer could not be used. Correct it and answer again. Problems:",
    answer="Now write the reply to the person, at most about {budget} words. Write only the reply itself: no tags, no "
    "headings, no explanation.",
    single_pass="Now write the whole chain and the reply, exactly in this form, with every tag and nothing outside "
    "the tags:",
)
_WORDS: Final[Mapping[Language, _Words]] = {"zh": _ZH, "en": _EN}
_EN_WORDS_PER_TOKEN: Final = 0.7


def layers_question(
    asked: Asked,
    names: Sequence[LayerName],
    schema: Mapping[str, object] | None,
    problems: Sequence[str],
) -> str:
    """Return the question for the layers `names` as structured output.

    Args:
        asked: What is asked for.
        names: The layers to write, in order.
        schema: The schema in words, for a model that is not given it otherwise.
        problems: What was wrong with the last answer.
    """
    words = _WORDS[asked.lang]
    lines = [words.opening, *_so_far(asked), words.form]
    lines += [f"- {words.titles[name]}: {_instruction(asked, name)}" for name in names]
    if asked.written:
        lines += [words.begun, asked.written]
    if schema is not None:
        lines += [words.schema, json.dumps(schema, ensure_ascii=False, separators=(",", ":"))]
    if problems:
        lines += [words.problems, *(f"- {one}" for one in problems)]
    return "\n".join(lines)


def text_question(asked: Asked, budget: int) -> str:
    """Return the question for the answer or, for `"single_pass"`, for chain and answer."""
    words = _WORDS[asked.lang]
    lines = [words.opening, *_so_far(asked)]
    if asked.part == "single_pass":
        lines += [words.single_pass, THINK_OPEN]
        lines += [f"{LAYER_OPEN[n]}{_instruction(asked, n)}{LAYER_CLOSE[n]}" for n in LAYERS]
        lines += [THINK_CLOSE, f"{ANSWER_OPEN}{_instruction(asked, 'answer')}{ANSWER_CLOSE}"]
        return "\n".join(lines)
    count = budget if asked.lang == "zh" else round(budget * _EN_WORDS_PER_TOKEN)
    lines += [words.answer.format(budget=count), _instruction(asked, "answer")]
    if asked.written:
        lines += [words.begun, asked.written]
    return "\n".join(lines)


def _instruction(asked: Asked, part: PartName) -> str:
    return asked.instructions.get(part) or _WORDS[asked.lang].instructions[part]


def _so_far(asked: Asked) -> list[str]:
    if not asked.layers:
        return []
    words = _WORDS[asked.lang]
    lines = (f"- {words.titles[name]}: {text}" for name, text in asked.layers.items())
    return [words.so_far, *lines]
