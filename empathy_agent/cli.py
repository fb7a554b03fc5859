"""The `empathy-agent` command: a dispatcher, nothing more.

Every room registers its commands under the entry-point group `empathy_agent.commands`; one is imported only when it
is called, so `--help` costs no model library. An error of ours is printed as one line and exits with 2 (usage or
input) or 1 (the model failed); there is no traceback to scare anyone with, and none of the person's words in it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

GROUP = "empathy_agent.commands"
_HELP: Mapping[str, str] = {
    "ask": "Answer a post: an argument, a file, stdin, or JSONL line by line.",
    "chat": "Talk in the terminal; nothing is stored unless asked for.",
    "doctor": "Show what is installed, which models work, and what to do.",
    "graph": "Print the graph as Mermaid.",
    "models": "List models worth trying, fetch one, or print where one is.",
}


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        _main(argv)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _main(argv: list[str] | None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    commands = {point.name: point for point in entry_points(group=GROUP)}
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_overview(commands))
        raise SystemExit(0)
    if name == "--version":
        from empathy_agent import __version__

        print(f"empathy-agent {__version__}")
        raise SystemExit(0)
    if name not in commands:
        from difflib import get_close_matches

        near = get_close_matches(name, commands, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(sorted(commands))}"
        _fail(f"there is no command of that name; {hint}", 2)
    _call(commands[name], arguments[1:])


def _overview(commands: Mapping[str, EntryPoint]) -> str:
    lines = ["Usage: empathy-agent COMMAND [OPTIONS]", "", "Commands:"]
    lines += [f"  {name:<10} {_HELP.get(name, '')}".rstrip() for name in sorted(commands)]
    lines += ["", "`empathy-agent COMMAND --help` lists the options of a command."]
    return "\n".join(lines)


def _call(point: EntryPoint, arguments: list[str]) -> None:
    import typer

    from empathy_agent.errors import BackendError, ContextOverflow, EmpathyAgentError

    loaded = point.load()
    if isinstance(loaded, typer.Typer):  # a command with commands of its own
        app = loaded
    else:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name=point.name)(loaded)
    try:
        app(args=arguments, prog_name=f"empathy-agent {point.name}")
    except EmpathyAgentError as error:
        failed = isinstance(error, BackendError) and not isinstance(error, ContextOverflow)
        _fail(str(error), 1 if failed else 2)
    except BrokenPipeError:
        raise SystemExit(1) from None


def _fail(message: str, status: int) -> None:
    print(f"empathy-agent: {message}", file=sys.stderr)
    raise SystemExit(status)
