"""`empathy-agent chat`: a conversation in the terminal, or one message a line from a pipe.

Before the first prompt and after the last one Ctrl-C ends the process at once and without words; in between it stops a
reply or clears the line. The parts are in `empathy_graph.chat`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from empathy_agent.config import Settings


def chat(
    model: Annotated[str, typer.Option(help="'tiny', a .gguf path, 'fake'.")] = "tiny",
    region: Annotated[str | None, typer.Option(help="Crisis resources: CN, US, UK, EU.")] = None,
    lang: Annotated[str, typer.Option(help="zh, en, or auto: what the person writes.")] = "auto",
    support: Annotated[
        str | None,
        typer.Option(help="listening, validation, understanding, advice or information."),
    ] = None,
    show_chain: Annotated[
        bool, typer.Option("--show-chain/--hide-chain", help="Show the four layers.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
    mode: Annotated[str, typer.Option(help="graph or single_pass.")] = "graph",
    history: Annotated[
        Path | None,
        typer.Option(help="SQLite file to store the chat in; see --thread for its name there."),
    ] = None,
    thread: Annotated[
        str | None, typer.Option(help="Store the chat under this name, or go on with it.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the stored chats and leave.")] = False,
    delete: Annotated[str | None, typer.Option(help="Delete a stored chat and leave.")] = None,
) -> None:
    """Talk in the terminal; nothing is stored unless asked for."""
    # Ctrl-C while modules and the model load ends the process; a traceback has no moment to appear.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from empathy_graph.chat.archive import delete_thread, list_threads
    from empathy_graph.chat.store import default_path

    path = history or default_path()
    if list_:
        list_threads(path)
    elif delete is not None:
        delete_thread(path, delete)
    else:
        from empathy_graph.chat.run import run_chat

        given = {"region": region, "lang": lang, "mode": mode, "show_chain": show_chain}
        settings = _settings(given, support, seed)
        run_chat(model, settings, path, thread, is_stored=history is not None)


def _settings(given: Mapping[str, object], support: str | None, seed: int | None) -> Settings:
    from empathy_agent.config import Settings, merge_settings
    from empathy_graph.chat.commands import find_support

    chosen: dict[str, object] = {f"empathy_{key}": value for key, value in given.items()}
    if support is not None:
        chosen["empathy_support"] = find_support(support) or support
    if seed is not None:
        chosen["empathy_sampling"] = {"seed": seed}
    return merge_settings(Settings(), chosen, None)
