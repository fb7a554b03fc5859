"""What a straying model writes is still read, and what cannot be read stays text."""

from __future__ import annotations

import pytest

from empathy_agent.chain import (
    CauseReading,
    Emotion,
    EmotionReading,
    Evidence,
    IntentionReading,
    StrategyReading,
)
from empathy_agent.layer_text import read_layer

POST = "最近他总是很晚才回消息，我一个人在宿舍里胡思乱想，总觉得他不爱我了。I can't sleep at all."


@pytest.mark.parametrize(
    "text",
    [
        "焦虑（3）“我一个人在宿舍里胡思乱想”",
        "焦虑（３）：『我一个人在宿舍里胡思乱想』",
        '焦虑感(3/3) "我一个人在宿舍里胡思乱想"。',
        "情绪：焦虑（强度：3）「我一个人在宿舍里胡思乱想」",
        "1. 焦虑(3)「我一个人在宿舍里胡思乱想」",
        "- 焦虑 3 ‘我一个人在宿舍里胡思乱想’",
        "anxiety (3) 「我一个人在宿舍里胡思乱想",
        "她最近很焦虑(3)「我一个人在宿舍里胡思乱想」",
    ],
)
def test_a_straying_emotion_is_read(text: str) -> None:
    expected = Emotion(id="anxiety", intensity=3, quote="我一个人在宿舍里胡思乱想")
    assert read_layer("emotion", text, post=POST).emotions == (expected,)


def test_single_quotes_leave_apostrophes_alone() -> None:
    reading = read_layer("emotion", "anxiety(2) 'I can't sleep at all'; fear", post=POST)
    assert reading.emotions == (
        Emotion(id="anxiety", intensity=2, quote="I can't sleep at all"),
        Emotion(id="fear"),
    )


def test_nested_marks_belong_to_the_quote() -> None:
    post = "他说「滚」就走了，我很难过"
    reading = read_layer("emotion", "愤怒(3)「他说「滚」就走了」；悲伤(1)", post=post)
    assert reading.emotions is not None
    assert reading.emotions[0].quote == "他说「滚」就走了"
    assert [one.id for one in reading.emotions] == ["anger", "sadness"]


def test_a_quote_that_is_not_in_the_post_is_dropped() -> None:
    reading = read_layer("emotion", "焦虑(3)「我没有说过」", post=POST)
    assert reading.emotions == (Emotion(id="anxiety", intensity=3, quote=None),)
    cause = read_layer("cause", "起因：回应变慢「我没有说过」", post=POST)
    assert cause.causes == (Evidence(text="回应变慢", quote=None),)


def test_a_free_sentence_after_the_emotions_is_the_situation() -> None:
    reading = read_layer("emotion", "焦虑(3)。异地恋两年。对方很忙。", post=POST)
    assert reading.situation == "异地恋两年。对方很忙"


def test_what_cannot_be_read_stays_text() -> None:
    prose = "这个人说了很多，一时说不清楚。"
    assert read_layer("emotion", prose, post=POST) == EmotionReading(text=prose)
    assert read_layer("cause", prose, post=POST) == CauseReading(text=prose)
    assert read_layer("intention", prose, post=POST) == IntentionReading(text=prose)
    assert read_layer("strategy", prose, post=POST) == StrategyReading(text=prose)


def test_prose_that_begins_with_a_label_is_no_emotion() -> None:
    text = "Hope springs eternal in the human breast, they say."
    assert read_layer("emotion", text, post=POST).emotions is None
    assert read_layer("emotion", "hopeful(2)", post=POST).emotions is None


def test_causes_and_beliefs_stray_in_many_ways() -> None:
    text = (
        "Causes：他回得晚 “最近他总是很晚才回消息”; 2）她一个人住\n"
        "Beliefs: 「总觉得他不爱我了」. More."
    )
    reading = read_layer("cause", text, post=POST)
    assert reading.causes == (
        Evidence(text="他回得晚", quote="最近他总是很晚才回消息"),
        Evidence(text="她一个人住"),
    )
    assert reading.beliefs == (Evidence(text="总觉得他不爱我了", quote="总觉得他不爱我了"),)


def test_an_explicit_nothing_is_an_empty_list_and_not_unread() -> None:
    reading = read_layer("cause", "起因：回应变慢。信念：无。", post=POST)
    assert reading.beliefs == ()


def test_a_quote_inside_the_words_of_a_cause_stays_there() -> None:
    reading = read_layer("cause", "起因：把「很晚才回」当作不爱。", post=POST)
    assert reading.causes == (Evidence(text="把很晚才回当作不爱", quote="很晚才回"),)


@pytest.mark.parametrize(
    "text",
    [
        "建议、理解",
        "主要：建议；其次：理解。",
        "建议（主要）和理解",
        "Advice, understanding. More",
        "wants advice and understanding",
        "- 寻求建议；被理解",
    ],
)
def test_a_straying_intention_is_read(text: str) -> None:
    reading = read_layer("intention", text, post="")
    assert (reading.primary, reading.others) == ("advice", ("understanding",))


def test_acts_are_read_as_verbs_too_and_repeated_ones_once() -> None:
    reading = read_layer("strategy", "Name; respect; explore; name. Then wait.", post="")
    assert reading.acts == ("naming", "respecting", "exploring")
