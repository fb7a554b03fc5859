"""Load the help lines of a region: numbers with source, date of check and honest hours.

The shipped pack is `regions.toml`; a host can pass a file of its own in the same form. A region is
never guessed: None means the generic entry, which names no number. Crisis and resource texts take
numbers from here alone, and the output rail lets no other number through.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from empathy_agent.chain import Record
from empathy_agent.errors import ConfigError
from empathy_agent.vocabulary import Language

GENERIC = "generic"


class HelpLine(Record):
    """One service a person can turn to."""

    kind: Literal["support", "emergency"]
    name_zh: str = Field(min_length=1)
    name_en: str = Field(min_length=1)
    number: str | None = Field(default=None, pattern=r"^\+?[0-9][0-9 \-]{1,18}$")
    hours_zh: str = ""
    hours_en: str = ""
    source: str = Field(min_length=1)
    """Who says so: publisher and, where known, the date."""
    url: str = Field(pattern=r"^https?://")
    checked: date
    """When the entry was last compared with its source."""

    @model_validator(mode="after")
    def _check_hours(self) -> HelpLine:
        if self.number is not None and not (self.hours_zh and self.hours_en):
            raise ValueError("a line with a number needs hours_zh and hours_en")
        return self

    @property
    def digits(self) -> str:
        """The number without spaces and hyphens, empty where there is none."""
        return re.sub(r"\D", "", self.number or "")

    def text(self, lang: Language) -> str:
        """Return the line as it is shown: name, number, hours."""
        name, hours = (
            (self.name_zh, self.hours_zh) if lang == "zh" else (self.name_en, self.hours_en)
        )
        if self.number is None:
            return name
        if self.kind == "emergency":
            return f"{name} {self.number}"
        return (
            f"{name} {self.number}（{hours}）"
            if lang == "zh"
            else f"{name} {self.number} ({hours})"
        )


class Region(Record):
    """The help lines of one region."""

    name_zh: str
    name_en: str
    line: tuple[HelpLine, ...] = Field(min_length=1)

    @property
    def numbers(self) -> frozenset[str]:
        """All numbers, digits only."""
        return frozenset(line.digits for line in self.line if line.digits)


class RegionPack(Record):
    """All regions of one file."""

    region: dict[str, Region]

    @model_validator(mode="after")
    def _check_generic(self) -> RegionPack:
        if GENERIC not in self.region:
            raise ValueError("the pack needs a region named 'generic'")
        if self.region[GENERIC].numbers:
            raise ValueError("the region 'generic' must not hold a number")
        return self

    def get(self, name: str | None) -> Region:
        """Return the region of that name, the generic one for None.

        Raises:
            ConfigError: If there is no such region; a near name is suggested.
        """
        if name is None:
            return self.region[GENERIC]
        for known, region in self.region.items():
            if known.lower() == name.strip().lower():
                return region
        known_by_lower = {known.lower(): known for known in self.region}
        near = difflib.get_close_matches(name.strip().lower(), known_by_lower, n=1, cutoff=0.4)
        hint = f"did you mean {known_by_lower[near[0]]!r}? " if near else ""
        raise ConfigError(
            f"unknown region {name!r}; {hint}known: {', '.join(self.region)}; "
            "or None for generic help"
        )


@cache
def load_regions(path: Path | None = None) -> RegionPack:
    """Read a region pack, the shipped one for None.

    Raises:
        ConfigError: If the file cannot be read or does not have the form of the shipped one.
    """
    what = "the packaged regions.toml" if path is None else f"the region file {path.name!r}"
    try:
        source = (
            resources.files("empathy_agent.safety").joinpath("regions.toml")
            if path is None
            else path
        )
        return RegionPack.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise ConfigError(f"{what} is not valid at {where}: {problem['msg']}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{what} cannot be read ({type(error).__name__}); give the path of a TOML file"
        ) from error
