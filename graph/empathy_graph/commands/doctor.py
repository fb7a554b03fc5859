"""`empathy-agent doctor`: what is installed, which backends can be opened, what each can do, what to do about the rest.

It opens the embedded model for real, because that is the one thing which must work everywhere.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

PACKAGES = (
    ("pydantic", "core"),
    ("langchain-core", "core"),
    ("langgraph", "core"),
    ("llama-cpp-python", "[llamacpp]"),
    ("huggingface-hub", "[hub]"),
    ("httpx", "[endpoint]"),
    ("transformers", "[transformers]"),
    ("torch", "[transformers]"),
    ("langchain", "[langchain]"),
    ("trl", "[train]"),
    ("peft", "[train]"),
    ("gguf", "[train]"),
)


def doctor(
    model: Annotated[
        str,
        typer.Option(help="'tiny', a .gguf or folder, hf:org/repo/Q4_K_M, http://host/v1#model."),
    ] = "tiny",
) -> None:
    """Show what is installed, whether the model opens, and what to do."""
    from rich.console import Console
    from rich.table import Table

    from empathy_agent import __version__
    from empathy_agent.errors import EmpathyAgentError

    console = Console()
    console.print(
        f"empathy-agent {__version__}, Python {platform.python_version()}, {sys.platform}"
    )
    table = Table("package", "version", "what to do")
    for package, extra in PACKAGES:
        found = _version(package)
        todo = (
            ""
            if found
            else f"pip install 'empathy-agent{extra}'"
            if extra != "core"
            else "reinstall"
        )
        table.add_row(package, found or "missing", todo)
    console.print(table)
    try:
        _show_model(model)
    except EmpathyAgentError as error:
        console.print(f"model {model!r} does not open: {error}", markup=False, style="red")
        raise typer.Exit(1) from None


def _show_model(model: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from empathy_agent.models.resolver import open_backend

    with open_backend(model) as backend:
        table = Table("capability", "value", title=f"model {backend.name!r}")
        table.add_row("context_size", str(backend.context_size))
        for flag, value in asdict(backend.capabilities).items():
            table.add_row(flag, str(value))
    Console().print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
