"""The prompts: as files, replaceable, and changed only on purpose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.requests import Guide, PartName
from empathy_agent.chain import CauseReading, EmotionReading, IntentionReading, StrategyReading
from empathy_agent.errors import ConfigError
from empathy_agent.layer_text import read_layer
from empathy_agent.safety import screen
from empathy_agent.segments import ALL_TAGS
from empathy_agent.transcript import ParsedTranscript, parse_strict
from empathy_agent.vocabulary import ACTS, EMOTIONS, LAYERS, SUPPORTS, Label, Language
from empathy_graph.advice import AdviceFilter
from empathy_graph.agent import EmpathyAgent
from empathy_graph.prompts import LANGUAGES, PARTS, SECTIONS, load_prompts
from tests.graph.posts import ENGLISH, POST
from tests.graph.recorded import assert_recorded

in_both_languages = pytest.mark.parametrize("lang", LANGUAGES)


@in_both_languages
@pytest.mark.parametrize("kind", ["system", "chat"])
def test_the_rendered_prompts_are_those_on_record(lang: Language, kind: str) -> None:
    text: str = getattr(load_prompts(), kind)(lang)
    assert_recorded(f"{kind}_{lang}.txt", text + "\n")


def _labels(labels: Mapping[str, Label], lang: Language) -> list[str]:
    return [label.zh if lang == "zh" else label.en for label in labels.values()]


@in_both_languages
def test_every_brace_is_filled_and_every_label_is_named(lang: Language) -> None:
    text = load_prompts().system(lang)
    assert "{" not in text
    assert all(one in text for one in _labels({**EMOTIONS, **SUPPORTS, **ACTS}, lang))
    assert all(tag in text for tag in ALL_TAGS)


@in_both_languages
def test_a_layer_that_has_a_vocabulary_lists_it_in_its_own_instruction(lang: Language) -> None:
    instructions = load_prompts().instructions(lang)
    assert tuple(instructions) == PARTS
    listed: dict[PartName, Mapping[str, Label]] = {
        "emotion": EMOTIONS,
        "intention": SUPPORTS,
        "strategy": ACTS,
    }
    for part, labels in listed.items():
        assert all(one in instructions[part] for one in _labels(labels, lang))
    assert not any("{" in text for text in instructions.values())


@in_both_languages
def test_a_chat_model_hears_of_no_tag(lang: Language) -> None:
    prompts = load_prompts()
    texts = (prompts.chat(lang), *prompts.instructions(lang).values())
    assert not any(re.search(r"[<＜]|\bL[1-4]\b|标签|\btags?\b", text) for text in texts)


@in_both_languages
def test_each_layer_is_bound_to_its_instruction_and_sees_the_shared_system_prompt(
    lang: Language,
) -> None:
    backend = FakeBackend(control_tags=False)
    EmpathyAgent(backend).invoke(POST if lang == "zh" else ENGLISH)
    instructions = load_prompts().instructions(lang)
    guides = [call.request.guide for call in backend.calls]
    assert guides == [Guide(part, lang, instructions) for part in PARTS]
    assert all(load_prompts().system(lang) in call.prompt for call in backend.calls)


def _example(lang: Language) -> tuple[str, ParsedTranscript]:
    """Return the example's post and its transcript."""
    text = load_prompts().system(lang)
    lead, _, chain = text.rpartition("<empathy_think>")
    post = re.split(r"对方写：|The person writes: ", lead)[1].strip()
    return post, parse_strict("<empathy_think>" + chain)


@in_both_languages
def test_the_example_is_a_complete_chain_that_keeps_our_own_rules(lang: Language) -> None:
    post, example = _example(lang)
    emotion, cause, intention, strategy = (
        read_layer(name, example.layers[name], post=post) for name in LAYERS
    )
    assert isinstance(emotion, EmotionReading)
    assert emotion.emotions is not None
    assert all(one.intensity and one.quote for one in emotion.emotions)
    assert emotion.situation
    assert isinstance(cause, CauseReading)
    assert all(one.quote for one in (*(cause.causes or ()), *(cause.beliefs or ())))
    assert cause.causes
    assert cause.beliefs
    assert isinstance(intention, IntentionReading)
    assert intention.primary
    assert isinstance(strategy, StrategyReading)
    assert strategy.acts
    assert screen(example.answer, lang, "answer") == (example.answer, ())
    advice = AdviceFilter(lang)
    assert advice.feed(example.answer) + advice.close() == example.answer


@in_both_languages
def test_a_quote_of_the_example_is_evidence_of_nothing_else(lang: Language) -> None:
    _, example = _example(lang)
    copied = read_layer("emotion", example.layers["emotion"], post=POST + ENGLISH)
    assert copied.emotions is not None
    assert [one.quote for one in copied.emotions] == [None, None]


def _write(
    folder: Path, sections: tuple[str, ...] = SECTIONS, body: str = "本店{name} {{cause}}"
) -> None:
    for lang in LANGUAGES:
        text = "\n".join(
            f"## {name}\n\n{body.format(name=name) if name in ('system', 'chat') else name}\n"
            for name in sections
        )
        (folder / f"{lang}.md").write_text(text, encoding="utf-8")


def test_prompts_of_a_host_reach_a_model_that_was_not_trained_on_the_chain(tmp_path: Path) -> None:
    _write(tmp_path)
    backend = FakeBackend(control_tags=False)
    EmpathyAgent(backend, prompts=load_prompts(tmp_path)).invoke(POST)
    assert "本店system cause" in backend.calls[0].prompt
    assert load_prompts(tmp_path).chat("zh") == "本店chat cause"


def test_a_missing_section_or_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'zh\.md' is missing"):
        load_prompts(tmp_path / "nowhere")
    _write(tmp_path, SECTIONS[:-1])
    with pytest.raises(ConfigError, match=r"'zh\.md' lacks the section\(s\) answer"):
        load_prompts(tmp_path)


def test_an_unknown_placeholder_is_a_config_error_that_names_it(tmp_path: Path) -> None:
    _write(tmp_path, body="{{emotions}} {{ACTS}} {{MOOD}} {{MOOD}}")
    unknown = r"section 'system' of prompt file 'zh\.md' .* \{emotions\}, \{MOOD\}; known"
    with pytest.raises(ConfigError, match=unknown):
        load_prompts(tmp_path)


def test_the_instruction_of_a_part_cannot_hold_another_part(tmp_path: Path) -> None:
    _write(tmp_path)
    path = tmp_path / "en.md"
    path.write_text(path.read_text(encoding="utf-8").replace("\nanswer\n", "\n{cause}\n"), "utf-8")
    with pytest.raises(ConfigError, match=r"section 'answer' of prompt file 'en\.md' .*\{cause\}"):
        load_prompts(tmp_path)


def test_braces_that_are_no_placeholder_are_left_alone(tmp_path: Path) -> None:
    _write(tmp_path, body='{{"answer": 1}} {{}} {{ACTS}}')
    assert load_prompts(tmp_path).system("en").startswith('{"answer": 1} {} naming, ')


def test_a_trained_model_gets_no_system_prompt_and_another_one_gets_its_language() -> None:
    trained, other = FakeBackend(), FakeBackend(control_tags=False)
    for backend in (trained, other):
        EmpathyAgent(backend).invoke(POST)
        EmpathyAgent(backend).invoke(ENGLISH)
    assert load_prompts().system("zh") not in trained.calls[0].prompt
    assert load_prompts().system("zh") in other.calls[0].prompt
    assert load_prompts().system("en") in other.calls[-1].prompt
