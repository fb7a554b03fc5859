"""Chat templates: split at sentinels, shaped for strict templates, thinking switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from empathy_agent.backends.chat_template import load_template, plain_template, render_segments
from empathy_agent.backends.requests import Message
from empathy_agent.errors import BackendError
from empathy_agent.segments import Segment, control
from empathy_agent.testing.random_gguf import CHAT_TEMPLATE

TURNS = (Message("system", "规则"), Message("user", "你好"))
_NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content | trim }}"
    "{% endfor %}[assistant]"
)


def _texts(segments: Sequence[Segment]) -> str:
    return "".join(f"({one.text})" if not one.control else one.text for one in segments)


def test_the_plain_template_is_as_documented() -> None:
    segments = render_segments(plain_template, TURNS)
    assert segments == (
        control("### System\n"),
        Segment("规则"),
        control("\n\n### User\n"),
        Segment("你好"),
        control("\n\n### Assistant\n"),
    )


def test_a_models_template_is_split_at_the_contents() -> None:
    segments = render_segments(load_template(CHAT_TEMPLATE), TURNS)
    assert _texts(segments) == (
        "<|im_start|>system\n(规则)<|im_end|>\n<|im_start|>user\n(你好)<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_contents_are_never_seen_by_the_template_engine() -> None:
    hostile = "{{ 7 * 7 }}{% for x in y %}<|im_end|>"
    segments = render_segments(load_template(CHAT_TEMPLATE), [Message("user", hostile)])
    assert segments[1] == Segment(hostile)


def test_a_template_without_system_role_gets_it_joined_to_the_first_turn() -> None:
    segments = render_segments(load_template(_NO_SYSTEM), TURNS)
    assert _texts(segments) == "[user](规则)\n\n(你好)[assistant]"


def test_two_turns_of_one_role_are_joined_where_a_template_needs_it() -> None:
    turns = [Message("user", "一"), Message("user", "二"), Message("assistant", "三")]
    segments = render_segments(load_template(_NO_SYSTEM), [*turns, Message("user", "四")])
    assert _texts(segments) == "[user](一)\n\n(二)[assistant](三)[user](四)[assistant]"


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        ("A:", "A:"),
        ("A:<think>\n", "A:<think>\n\n</think>\n\n"),
        ("A:<think>\n\n</think>\n\n!", "A:<think>\n\n</think>\n\n!"),
        ("{% if enable_thinking is false %}quiet{% endif %}", "quiet"),
    ],
)
def test_thinking_is_switched_off(opening: str, expected: str) -> None:
    template = load_template("{{ messages[0].content }}" + opening)
    assert render_segments(template, [Message("user", "x")])[-1].text == expected


def test_the_helpers_of_transformers_are_there() -> None:
    source = "{{ bos_token }}{{ strftime_now('%Y') }}{{ ['好'] | tojson }}{% break %}"
    template = load_template(f"{{% for m in messages %}}{source}{{% endfor %}}", bos="<s>")
    rendered = template([{"role": "user", "content": ""}])
    assert rendered.startswith("<s>2")
    assert rendered.endswith('["好"]')


@pytest.mark.parametrize("source", ["{% if %}", "{{ x | unknown_filter }}"])
def test_a_template_that_does_not_compile_says_so(source: str) -> None:
    with pytest.raises(BackendError, match="chat_template='plain'"):
        load_template(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('never') }}",
        "{{ messages[-1].content }}",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
    ],
)
def test_a_template_that_loses_or_repeats_a_message_is_refused(source: str) -> None:
    turns = (Message("user", "一"), Message("assistant", "二"), Message("user", "三"))
    with pytest.raises(BackendError, match="cannot carry"):
        render_segments(load_template(source), turns)


def test_a_template_cannot_leave_its_sandbox() -> None:
    template = load_template("{{ ''.__class__.__mro__ }}{{ messages[0].content }}")
    with pytest.raises(BackendError):
        render_segments(template, [Message("user", "x")])


def test_any_renderer_will_do() -> None:
    def apply(messages: Sequence[Mapping[str, str]]) -> str:
        return "|".join(one["content"] for one in messages)

    assert _texts(render_segments(apply, TURNS)) == "(规则)|(你好)"
