"""The models worth trying, read from `catalogue.toml`; its head says what the fields mean."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict


class CatalogueEntry(BaseModel):
    """A model, where it is, and what is known of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    spec: str
    licence: str
    size: int
    """Bytes of the file."""
    memory: int
    """Bytes while serving, roughly."""
    languages: tuple[str, ...]
    note: str
    checked: Literal["run", "name and size"]
    """How far somebody of this project looked at it."""
    source: str


@cache
def load_catalogue() -> tuple[CatalogueEntry, ...]:
    """Return the entries, the smallest model first."""
    text = files("empathy_agent.models").joinpath("catalogue.toml").read_text("utf-8")
    return tuple(CatalogueEntry.model_validate(entry) for entry in tomllib.loads(text)["model"])
