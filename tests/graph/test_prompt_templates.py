"""What a model of each family would get: our prompts through real chat templates, on record.

A record names a control segment by `#` and a content segment by `=`, one to a line; our own system prompt, which has a
record of its own, is shown by its name. `UPDATE_SNAPSHOTS=1` rewrites the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from empathy_agent.backends import chat_template
from empathy_agent.backends.chat_template import Apply, load_template, render_segments
from empathy_agent.backends.fake import FakeBackend, FakeCall
from empathy_agent.backends.requests import Message
from empathy_agent.segments import ALL_TAGS, LAYER_CLOSE, LAYER_OPEN, Segment
from empathy_agent.vocabulary import Language
from empathy_graph.agent import EmpathyAgent
from empathy_graph.prompts import LANGUAGES, load_prompts
from tests.graph.posts import ENGLISH, POST
from tests.graph.recorded import SNAPSHOTS, assert_recorded


@dataclass(frozen=True)
class Family:
    """What a tokenizer adds to its template, and where the system prompt ends up."""

    bos: str
    eos: str
    has_system_role: bool = False


FAMILIES = {
    "qwen3": Family("", "<|im_end|>", has_system_role=True),
    "llama-3.2": Family("<|begin_of_text|>", "<|eot_id|>", has_system_role=True),
    "gemma-2": Family("<bos>", "<eos>"),
    "gemma-3": Family("<bos>", "<eos>"),
    "mistral-7b-v0.1": Family("<s>", "</s>"),
    "mistral-nemo": Family("<s>", "</s>"),
}
WORDS: dict[Language, tuple[str, str, str]] = {
    "zh": (POST, "听起来你等得很不安。", "他昨天回了，可我还是睡不着。"),
    "en": (ENGLISH, "That sounds like a long night.", "She called, and I still cannot sleep."),
}
"""The first post, the reply to it and the second post."""
PARTS = ("L1", "L2", "L3", "L4", "answer")

each = pytest.mark.parametrize(
    ("family", "lang"), [(family, lang) for family in FAMILIES for lang in LANGUAGES]
)


class Templated(FakeBackend):
    """A fake that uses a model's template."""

    def __init__(self, apply: Apply) -> None:
        super().__init__(control_tags=False)
        self._apply = apply

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        return render_segments(self._apply, messages)


class Monday(datetime):
    """A clock that stands still, for templates that print the date."""

    @classmethod
    def now(cls, tz: Any = None) -> Monday:
        return cls(2026, 11, 23)


@pytest.fixture(autouse=True)
def _standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "datetime", Monday)


@cache
def turns(family: str, lang: Language) -> tuple[list[FakeCall], list[FakeCall]]:
    """Return the requests of a first and a second turn of one conversation."""
    source = (SNAPSHOTS / "templates" / f"{family}.jinja").read_text(encoding="utf-8")
    given = FAMILIES[family]
    backend = Templated(load_template(source, bos=given.bos, eos=given.eos))
    first, reply, second = WORDS[lang]
    calls: list[list[FakeCall]] = []
    later: list[AnyMessage] = [HumanMessage(first), AIMessage(reply), HumanMessage(second)]
    for messages in (later[:1], later):
        backend.calls.clear()
        EmpathyAgent(backend).invoke(messages)
        assert [call.part for call in backend.calls] == list(PARTS)
        calls.append(list(backend.calls))
    return calls[0], calls[1]


def template_of(call: FakeCall) -> list[Segment]:
    """Return what comes before the transcript."""
    segments = call.request.segments
    opening = next(i for i, one in enumerate(segments) if one.control and one.text in ALL_TAGS)
    return list(segments[:opening])


def shown(call: FakeCall, lang: Language) -> str:
    """Return the segments of a request, one to a line."""
    system = load_prompts().system(lang)
    lines = [f"## {call.part}"]
    for one in call.request.segments:
        text = f"[snapshots/system_{lang}.txt]" if one.text == system else one.text
        lines.append(
            ("# " if one.control else "= ") + text.replace("\\", r"\\").replace("\n", r"\n")
        )
    return "\n".join(lines)


@each
def test_the_rendered_prompts_are_those_on_record(family: str, lang: Language) -> None:
    first, second = turns(family, lang)
    text = "\n\n".join(shown(call, lang) for call in (*first[:2], second[0], second[-1]))
    assert_recorded(f"rendered/{family}_{lang}.txt", text + "\n")


@each
def test_what_people_wrote_stands_in_content_segments_only(family: str, lang: Language) -> None:
    system = load_prompts().system(lang)
    for calls, said in zip(turns(family, lang), (WORDS[lang][:1], WORDS[lang]), strict=True):
        template = template_of(calls[0])
        assert [one.text for one in template if not one.control] == [system, *said]
        markup = "".join(one.text for call in calls for one in call.request.segments if one.control)
        assert not any(text in markup for text in (system, *said))


@each
def test_the_system_prompt_comes_first_even_where_there_is_no_role_for_it(
    family: str, lang: Language
) -> None:
    for calls in turns(family, lang):
        before, system, between, post = template_of(calls[0])[:4]
        assert (system.text, post.text) == (load_prompts().system(lang), WORDS[lang][0])
        if FAMILIES[family].has_system_role:
            assert "system" in before.text
            assert "user" in between.text
        else:
            assert between.text == "\n\n"
            assert "system" not in before.text


@each
def test_a_later_turn_begins_with_the_tokens_of_the_first(family: str, lang: Language) -> None:
    first, second = (template_of(calls[0]) for calls in turns(family, lang))
    assert second[:4] == first[:4]


@each
def test_the_token_that_begins_a_text_is_there_once(family: str, lang: Language) -> None:
    bos = FAMILIES[family].bos
    for calls in turns(family, lang):
        if bos:
            assert calls[-1].prompt.startswith(bos)
            assert calls[-1].prompt.count(bos) == 1


@each
def test_every_part_continues_the_prompt_of_the_part_before_it(family: str, lang: Language) -> None:
    for calls in turns(family, lang):
        for (before, call), name in zip(pairwise(calls), LAYER_OPEN, strict=True):
            count = len(before.request.segments)
            assert call.request.segments[:count] == before.request.segments
            written, closing = call.request.segments[count : count + 2]
            assert not written.control
            assert closing == Segment(LAYER_CLOSE[name], control=True)
            assert call.prompt.startswith(before.prompt + written.text + closing.text)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_thinking_of_qwen3_is_closed_empty_in_the_open_turn_only(lang: Language) -> None:
    for calls in turns("qwen3", lang):
        *earlier, opening = (one.text for one in template_of(calls[0]) if one.control)
        assert opening.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
        assert "<think>" not in "".join(earlier)
