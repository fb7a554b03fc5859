"""`empathy-agent models`: models worth trying, `pull` one from the hub, the `path` of one.

stdout carries only what a script wants (the table, a spec, a path); all else goes to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from empathy_agent.errors import ConfigError

models = typer.Typer(
    help="List models worth trying, fetch one, or print where one is.",
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)

Spec = Annotated[str, typer.Argument(help="A model, such as hf:Qwen/Qwen3-4B-GGUF/Q4_K_M.")]


@models.callback()
def default(context: typer.Context) -> None:
    """List models worth trying, fetch one, or print where one is."""
    if context.invoked_subcommand is None:
        show()


@models.command("list")
def show() -> None:
    """List models worth trying, with what they need."""
    from rich.console import Console
    from rich.table import Table

    from empathy_agent.models.catalogue import load_catalogue

    console = Console()
    if not console.is_terminal:
        console.width = 200  # a pipe has no width: nothing is to be cut off
    table = Table("model", "licence", "file", "memory", "languages", "tried here", "note")
    for entry in load_catalogue():
        table.add_row(
            entry.spec,
            entry.licence,
            _size(entry.size),
            _size(entry.memory),
            ", ".join(entry.languages),
            "yes" if entry.checked == "run" else "no",
            entry.note,
        )
    console.print(table)
    console.print(
        "Chosen by size and licence: what was not tried here, nobody here has judged.\n"
        "`empathy-agent models pull MODEL` fetches one; `--model MODEL` uses it."
    )


@models.command()
def pull(spec: Spec) -> None:
    """Fetch the newest of a model on the hub, and check every byte of it."""
    from empathy_agent.models.hub import fetch
    from empathy_agent.models.hub_spec import HubSpec
    from empathy_agent.models.specs import read_spec

    reference = read_spec(spec)
    if not isinstance(reference, HubSpec):
        raise ConfigError(f"{spec!r} is not on the hub; only hf:org/repo/... can be fetched")
    print(fetch(reference, refresh=True), file=sys.stderr)
    print(spec)


@models.command()
def path(spec: Spec) -> None:
    """Print where a model is on this machine; nothing is fetched."""
    print(_local_path(spec))


def _local_path(spec: str) -> Path:
    from empathy_agent.models.hub import fetch
    from empathy_agent.models.hub_spec import HubSpec
    from empathy_agent.models.resolver import resolve_model
    from empathy_agent.models.specs import LocalFile, LocalFolder, read_spec

    reference = read_spec(spec)
    if isinstance(reference, HubSpec):
        return fetch(reference, local_only=True)
    found = resolve_model(spec)
    if isinstance(found, LocalFile | LocalFolder):
        return found.path
    raise ConfigError(f"{spec!r} is no file of this machine")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
