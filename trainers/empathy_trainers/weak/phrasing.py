"""Write the free sentence of each layer out of frames and words of this very post.

The frame is chosen by a hash of the record, the slots hold the seeker's own clauses in neutral
wording, the topic, its key words, the feeling and the cause. A small model trained on this has to
copy to be right; no sentence is frozen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from empathy_agent.chain import Emotion, Evidence
from empathy_agent.vocabulary import EMOTIONS, Act, Support
from empathy_trainers.weak.evidence import Ranked
from empathy_trainers.weak.lexicon import lexicon
from empathy_trainers.weak.sentences import distinct
from empathy_trainers.weak.wording import neutral, pick

_UNFIT: Final = re.compile(
    r"你|您|请问|[0-9a-zA-Z]{4,}|[+#*=/&]|^(?:如果|要是|假如|虽然|即使|当)|(?:的时候|说|觉得|后|时|中|里|期间|来|下|原因|前|自己很想知道|以|对|向|给|为|但|却|会|要|想|还|都|而|感觉|的|是|和|跟|把|被|让)$"
)
_CLAUSE_CHARS: Final = (5, 20)
_TIMED: Final = re.compile(
    "眼下|最近|这段时间|现在|以前|小时候|从小|后来|当时|昨天|今天|今年|年前|年后|曾经"
)
_VIEW: Final = re.compile(
    "^(?:除了|知道|可能|或许|也许|希望|不想|想|觉得|会|能|有些|认为|应该|需要|可以|只有|越|被|其他|一些|产生)"
)
_GENERAL: Final = ("朋友", "生活", "情绪", "关系", "选择")
_VAGUE: Final = ("别人", "他们", "对方")
_LONGEST_CAUSE: Final = 10


class Words(NamedTuple):
    """What the frames are filled with."""

    topic: str
    kw: str
    kw2: str
    emo: str
    cause: str
    belief: str
    plan: str

    def fill(self, frame: str, **more: str) -> str:
        """Fill a frame's slots."""
        return frame.format(**self._asdict(), **more)


def words_of(
    post: str,
    emotions: Sequence[Emotion],
    causes: Sequence[Evidence],
    beliefs: Sequence[Evidence],
    plan: str | None,
) -> Words:
    """Gather the slots' words of one post."""
    emo = EMOTIONS[emotions[0].id].zh
    keys = [word for word in key_words(post, 3) if word != emo]
    topic = topic_of(post)
    return Words(
        topic=topic,
        kw=keys[0] if keys else topic,
        kw2=keys[1] if len(keys) > 1 else topic,
        emo=emo,
        cause=causes[0].text
        if causes and len(causes[0].text) <= _LONGEST_CAUSE
        else f"{topic}上的事",
        belief=beliefs[0].text if beliefs else "",
        plan=plan or "一步一步来",
    )


def topic_of(post: str) -> str:
    """Return the topic whose words are most frequent, a general word where none occurs."""
    counts = {topic: len(cues.findall(post)) for topic, cues in lexicon().topics.items()}
    best = max(counts, key=lambda t: counts[t])
    return best if counts[best] else "生活"


def key_words(post: str, most: int = 2) -> list[str]:
    """Return up to `most` nouns of the post, the frequent and early ones first."""
    counts: Counter[str] = Counter()
    for cues in (lexicon().keywords, lexicon().relations):
        counts.update(word for word in cues.findall(post) if word not in _VAGUE)
    ranked = sorted(counts, key=lambda w: (w in _GENERAL, -counts[w], post.index(w)))
    return [_as_theme(word) for word in ranked[:most]]


def _as_theme(word: str) -> str:
    """Name a person's part in it rather than the person: frames speak of matters."""
    if not lexicon().relations.fullmatch(word):
        return word
    return f"和{ {'我妈': '妈妈', '我爸': '爸爸'}.get(word, word) }的关系".replace(" ", "")


def situation(
    ranked: Sequence[Ranked], felt: set[str], shown: set[str], words: Words, seed_key: str
) -> str:
    """Write layer 1's situation from one or two telling clauses.

    Args:
        ranked: The clauses of the post.
        felt: Quotes of the emotions, which are not told again.
        shown: Quotes of layer 2, told again only where little else is worth telling.
        words: What the frames are filled with.
        seed_key: The record's id.
    """
    worths = {one: _telling(one) - _overlap(one, shown) for one in ranked if not one.asking}
    chosen: list[tuple[int, str]] = []
    for one in sorted(worths, key=worths.__getitem__, reverse=True):
        text = neutral(one.clause.text)
        fits = _CLAUSE_CHARS[0] <= len(text) <= _CLAUSE_CHARS[1] and not _UNFIT.search(text)
        if chosen and len(list(distinct([chosen[0][1], text]))) < 2:
            continue
        if fits and not _overlap(one, felt):
            chosen.append((one.clause.start, text))
        if len(chosen) == 2:
            break
    texts = [text for _, text in sorted(chosen)]
    frames = lexicon().frames[("situation_none", "situation_one", "situation_two")[len(texts)]]
    if any(map(_TIMED.search, texts)):
        frames = tuple(frame for frame in frames if not _TIMED.search(frame))
    more = dict(zip(("a", "b"), texts, strict=False))
    return words.fill(pick(frames, seed_key, "situation"), **more)


def _overlap(one: Ranked, quotes: set[str]) -> float:
    """Return 1 where a clause and a quote hold one another."""
    text = one.clause.text
    return float(any(text in quote or quote in text for quote in quotes))


def _telling(one: Ranked) -> float:
    """Rank early, story-telling clauses above views and wishes."""
    worth = one.worth - 0.002 * one.clause.start
    return worth - (1.5 if _VIEW.search(neutral(one.clause.text)) else 0.0)


def cause_sentence(words: Words, seed_key: str) -> str:
    """Write layer 2's free sentence: how cause, belief and feeling hang together."""
    frames = lexicon().frames["link_belief" if words.belief else "link"]
    return words.fill(pick(frames, seed_key, "link"))


def wish(question: str | None, others: Sequence[Support], words: Words, seed_key: str) -> str:
    """Write layer 3's free sentence: what is asked, and what is wanted besides."""
    frames = lexicon().frames
    if question is None:
        text = words.fill(pick(frames["want_none"], seed_key, "want"))
    else:
        asks = question.endswith(("吗", "吧", "呢")) or "，" in question
        kind = "want_ask" if asks else "want_question"
        text = words.fill(pick(frames[kind], seed_key, "want"), q=question)
    if others:
        text += "，" + words.fill(pick(frames[f"want_also_{others[0]}"], seed_key, "also"))
    return text


def plan_sentence(acts: Sequence[Act], words: Words, seed_key: str) -> str:
    """Write layer 4's free sentence: two or three of the acts, in their order, made concrete."""
    steps = list(acts[:2])
    if "suggesting" in acts and "suggesting" not in steps:
        steps.append("suggesting")
    elif len(acts) > 2 and "suggesting" not in acts:
        steps.append(acts[2])
    texts = [_step(act, words, seed_key) for act in steps]
    joined = texts[0] if texts else words.fill("陪TA看看{kw}")
    for text, link in zip(texts[1:], _links(seed_key), strict=False):
        joined += f"，{link}{text}"
    return joined


def _step(act: Act, words: Words, seed_key: str) -> str:
    filled = words.fill(pick(lexicon().frames[f"step_{act}"], seed_key, act))
    return filled.removeprefix("先")


_LINKS: Final[Mapping[str, tuple[str, str]]] = {
    "再": ("再", "最后"),
    "然后": ("然后", "接着"),
    "接着": ("接着", "最后"),
    "随后": ("随后", "再"),
    "": ("", "再"),
}


def _links(seed_key: str) -> tuple[str, str]:
    return _LINKS[pick(tuple(_LINKS), seed_key, "links")]
