"""The prompts, as files: one per language, with a section for the system prompt and one per layer.

A model whose tags are control tokens was trained on the chain and gets no system prompt. Any other model gets the
`system` section with the layers' instructions in it, once, so that the four nodes share one prefix. A host replaces a
file by passing `Prompts` of its own; `load_prompts(folder)` reads the same format from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from empathy_agent.backends.base import PartName
from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import ACTS, EMOTIONS, LAYERS, SUPPORTS, Label, Language

LANGUAGES: tuple[Language, ...] = ("zh", "en")
SECTIONS = ("system", *LAYERS, "answer")


@dataclass(frozen=True)
class Prompts:
    """The sections of each language's file."""

    sections: Mapping[Language, Mapping[str, str]]

    def chat(self, lang: Language) -> str:
        """Return the system prompt for a model that is asked for each part in words."""
        return self.sections[lang]["chat"]

    def instructions(self, lang: Language) -> Mapping[PartName, str]:
        """Return how each part is written."""
        parts: tuple[PartName, ...] = (*LAYERS, "answer")
        return {part: self.sections[lang][part] for part in parts}

    def system(self, lang: Language) -> str:
        """Return the system prompt, with instructions and vocabularies filled in."""
        parts = self.sections[lang]
        text = parts["system"]
        for name in (*LAYERS, "answer"):
            text = text.replace("{" + name + "}", parts[name])
        for name, labels in (("EMOTIONS", EMOTIONS), ("SUPPORTS", SUPPORTS), ("ACTS", ACTS)):
            text = text.replace("{" + name + "}", _listing(labels, lang))
        return text


def _listing(labels: Mapping[str, Label], lang: Language) -> str:
    words = [label.zh if lang == "zh" else label.en for label in labels.values()]
    return ("、" if lang == "zh" else ", ").join(words)


@cache
def load_prompts(folder: Path | None = None) -> Prompts:
    """Read `zh.md` and `en.md` from `folder`, or the shipped ones.

    Raises:
        ConfigError: A file or one of its sections is missing.
    """
    sections: dict[Language, Mapping[str, str]] = {}
    for lang in LANGUAGES:
        source = files(__name__) / f"{lang}.md" if folder is None else folder / f"{lang}.md"
        if not source.is_file():
            raise ConfigError(f"the prompt file '{lang}.md' is missing; put it beside the others")
        sections[lang] = _split(source.read_text(encoding="utf-8"), f"{lang}.md")
    return Prompts(sections)


def _split(text: str, name: str) -> Mapping[str, str]:
    pieces = re.split(r"^## (\w+)[ \t]*$", text, flags=re.MULTILINE)
    found = {key: body.strip() for key, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    missing = [key for key in SECTIONS if not found.get(key)]
    if missing:
        raise ConfigError(f"prompt file {name!r} lacks the section(s) {', '.join(missing)}")
    return found
