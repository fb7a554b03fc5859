"""The weak annotator: post and reply in, the four layers of a chain out, by rule.

Order of work: emotions (both sides), evidence (post), wishes (post), acts and plan (reply), then
the free sentences from what was found. The text form is `empathy_agent.layer_text`'s, so training
text is serving text. A record without a quoted emotion is refused: None. The same input gives the
same chain in every process.
"""

from __future__ import annotations

from dataclasses import dataclass

from empathy_agent.chain import Emotion, Evidence
from empathy_agent.layer_text import write_cause, write_emotion, write_intention, write_strategy
from empathy_agent.vocabulary import Act, Support
from empathy_trainers.weak import phrasing
from empathy_trainers.weak.emotions import read_emotions
from empathy_trainers.weak.evidence import rank_clauses, read_beliefs, read_causes
from empathy_trainers.weak.wishes import read_acts, read_plan, read_question, read_supports

ANNOTATOR = "weak-rules-1"
"""Goes into each record's `annotator`; raise the number when the rules change."""


@dataclass(frozen=True, slots=True)
class ChainLayers:
    """A chain as text and as types."""

    l1: str
    l2: str
    l3: str
    l4: str
    emotions: tuple[Emotion, ...]
    causes: tuple[Evidence, ...]
    beliefs: tuple[Evidence, ...]
    support: Support
    other_supports: tuple[Support, ...]
    acts: tuple[Act, ...]

    def as_dict(self) -> dict[str, str]:
        """Return the four texts under `L1` to `L4`."""
        return {"L1": self.l1, "L2": self.l2, "L3": self.l3, "L4": self.l4}

    def quotes(self) -> tuple[str, ...]:
        """Return every quote of the chain."""
        felt = [emotion.quote for emotion in self.emotions]
        shown = [evidence.quote for evidence in (*self.causes, *self.beliefs)]
        return tuple(quote for quote in (*felt, *shown) if quote)


def annotate(post: str, answer: str, seed_key: str) -> ChainLayers | None:
    """Write the chain of one post and its reply.

    Args:
        post: The seeker's words.
        answer: The reply the chain should lead to.
        seed_key: The record's id; it alone decides between equal wordings.

    Returns:
        The layers, or None if no emotion with a quote or no act of the reply was found.
    """
    emotions = read_emotions(post, answer)
    acts = read_acts(answer)
    if not emotions or not acts:
        return None
    felt = {emotion.quote for emotion in emotions if emotion.quote}
    used = set(felt)
    ranked = rank_clauses(post)
    beliefs = read_beliefs(post, ranked, used, seed_key)
    causes = read_causes(post, ranked, used, seed_key)
    if not causes and not beliefs:
        return None
    support, others = read_supports(post)
    words = phrasing.words_of(post, emotions, causes, beliefs, read_plan(post, answer, seed_key))
    told = phrasing.situation(ranked, felt, used - felt, words, seed_key)
    wish = phrasing.wish(read_question(post, ranked), others, words, seed_key)
    return ChainLayers(
        l1=write_emotion(emotions, told, "zh"),
        l2=write_cause(causes, beliefs, phrasing.cause_sentence(words, seed_key), "zh"),
        l3=write_intention(support, others, wish, "zh"),
        l4=write_strategy(acts, phrasing.plan_sentence(acts, words, seed_key), "zh"),
        emotions=emotions,
        causes=causes,
        beliefs=beliefs,
        support=support,
        other_supports=others,
        acts=acts,
    )
