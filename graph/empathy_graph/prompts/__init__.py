"""The prompts, as files: one per language, with a section for each kind of model and one for each part of the chain.

A model whose tags are control tokens was trained on the chain and gets no system prompt. Any other model that continues
a text gets `system`, which shows the form and holds the instructions of every part, once, so that the four nodes share
one prefix. A chat-only model gets `chat`, which names no tag, and the instructions of a part with each question. A host
replaces the files by passing `Prompts` of its own; `load_prompts(folder)` reads the same format from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from empathy_agent.backends.requests import PartName
from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import ACTS, EMOTIONS, LAYERS, SUPPORTS, Label, Language

LANGUAGES: tuple[Language, ...] = ("zh", "en")
PARTS: tuple[PartName, ...] = (*LAYERS, "answer")
"""The parts that have instructions of their own; `system` may hold each in braces."""
SECTIONS: tuple[str, ...] = ("system", "chat", *PARTS)
VOCABULARIES: Mapping[str, Mapping[str, Label]] = {
    "EMOTIONS": EMOTIONS,
    "SUPPORTS": SUPPORTS,
    "ACTS": ACTS,
}
"""The lists that any section may hold in braces."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
_HEADING = re.compile(r"^## (\w+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Prompts:
    """The sections of each language, placeholders unfilled.

    Raises:
        ConfigError: A language or section is missing, or a placeholder is not known in its section.
    """

    sections: Mapping[Language, Mapping[str, str]]

    def __post_init__(self) -> None:
        """Refuse sections that could not be filled."""
        for lang in LANGUAGES:
            _check(self.sections.get(lang, {}), f"{lang}.md")

    def system(self, lang: Language) -> str:
        """Return the system prompt of models that continue a text."""
        return self._whole("system", lang)

    def chat(self, lang: Language) -> str:
        """Return the system prompt of chat-only models, which are asked part by part."""
        return self._whole("chat", lang)

    def instructions(self, lang: Language) -> Mapping[PartName, str]:
        """Return how each part is written, with the words it may use."""
        lists = _lists(lang)
        return {part: _fill(self.sections[lang][part], lists) for part in PARTS}

    def _whole(self, section: str, lang: Language) -> str:
        values = _lists(lang)
        values.update(self.instructions(lang).items())
        return _fill(self.sections[lang][section], values)


def _check(sections: Mapping[str, str], name: str) -> None:
    missing = [key for key in SECTIONS if not sections.get(key)]
    if missing:
        raise ConfigError(f"prompt file {name!r} lacks the section(s) {', '.join(missing)}")
    for key in SECTIONS:
        known = (*VOCABULARIES, *(PARTS if key in ("system", "chat") else ()))
        found = dict.fromkeys(_PLACEHOLDER.findall(sections[key]))
        unknown = [f"{{{word}}}" for word in found if word not in known]
        if unknown:
            raise ConfigError(
                f"section {key!r} of prompt file {name!r} has unknown placeholder(s) "
                f"{', '.join(unknown)}; known there are {', '.join(known)}"
            )


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _lists(lang: Language) -> dict[str, str]:
    separator = "、" if lang == "zh" else ", "
    return {
        name: separator.join(label.zh if lang == "zh" else label.en for label in labels.values())
        for name, labels in VOCABULARIES.items()
    }


@cache
def load_prompts(folder: Path | None = None) -> Prompts:
    """Read `zh.md` and `en.md` from `folder`, or the shipped ones.

    Raises:
        ConfigError: A file or section is missing, or a placeholder is unknown.
    """
    sections: dict[Language, Mapping[str, str]] = {}
    for lang in LANGUAGES:
        source = files(__name__) / f"{lang}.md" if folder is None else folder / f"{lang}.md"
        if not source.is_file():
            raise ConfigError(f"the prompt file '{lang}.md' is missing; put it beside the others")
        sections[lang] = _split(source.read_text(encoding="utf-8"))
    return Prompts(sections)


def _split(text: str) -> Mapping[str, str]:
    pieces = _HEADING.split(text)
    return {key: body.strip() for key, body in zip(pieces[1::2], pieces[2::2], strict=True)}
