"""The prompts: as files, replaceable, and changed only on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import ACTS, EMOTIONS, SUPPORTS, Language
from empathy_graph.agent import EmpathyAgent
from empathy_graph.prompts import LANGUAGES, SECTIONS, load_prompts
from tests.graph.posts import ENGLISH, POST

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_rendered_system_prompt_is_the_one_on_record(lang: Language) -> None:
    """To accept a change, write `load_prompts().system(lang)` to the file under `snapshots/`."""
    recorded = (SNAPSHOTS / f"system_{lang}.txt").read_text(encoding="utf-8")
    assert load_prompts().system(lang) + "\n" == recorded


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_brace_is_filled_and_every_label_is_named(lang: Language) -> None:
    text = load_prompts().system(lang)
    assert "{" not in text
    labels = [*EMOTIONS.values(), *SUPPORTS.values(), *ACTS.values()]
    assert all((label.zh if lang == "zh" else label.en) in text for label in labels)


def _write(folder: Path, sections: tuple[str, ...]) -> None:
    for lang in LANGUAGES:
        text = "\n".join(f"## {name}\n\n本店{name} {{cause}}\n" for name in sections)
        (folder / f"{lang}.md").write_text(text, encoding="utf-8")


def test_prompts_of_a_host_reach_a_model_that_was_not_trained_on_the_chain(tmp_path: Path) -> None:
    _write(tmp_path, SECTIONS)
    backend = FakeBackend(control_tags=False)
    EmpathyAgent(backend, prompts=load_prompts(tmp_path)).invoke(POST)
    assert "本店system 本店cause" in backend.calls[0].prompt


def test_a_missing_section_or_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'zh\.md' is missing"):
        load_prompts(tmp_path / "nowhere")
    _write(tmp_path, SECTIONS[:-1])
    with pytest.raises(ConfigError, match=r"'zh\.md' lacks the section\(s\) answer"):
        load_prompts(tmp_path)


def test_a_trained_model_gets_no_system_prompt_and_another_one_gets_its_language() -> None:
    trained, other = FakeBackend(), FakeBackend(control_tags=False)
    for backend in (trained, other):
        EmpathyAgent(backend).invoke(POST)
        EmpathyAgent(backend).invoke(ENGLISH)
    assert load_prompts().system("zh") not in trained.calls[0].prompt
    assert load_prompts().system("zh") in other.calls[0].prompt
    assert load_prompts().system("en") in other.calls[-1].prompt
