"""`chat --list` and `chat --delete`: the stored threads without a model."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from empathy_agent.errors import ConfigError
from empathy_graph.chat.sanitise import printable
from empathy_graph.chat.store import ChatStore


def list_threads(path: Path) -> None:
    """Print name, number of messages and time of the last change of every thread."""
    if not path.exists():
        print(f"nothing is stored in {str(path)!r}")
        return
    with ChatStore(path) as store:
        for thread in store.threads():
            when = thread.changed[:16].replace("T", " ")
            print(f"{printable(thread.name)}\t{thread.messages} messages\t{when} UTC")


def delete_thread(path: Path, name: str) -> None:
    """Delete a thread and its bytes.

    Raises:
        ConfigError: There is no such thread, or the file cannot be used.
    """
    names: list[str] = []
    if path.exists():
        with ChatStore(path) as store:
            names = [thread.name for thread in store.threads()]
            if name in names:
                store.delete(name)
                print(f"deleted {printable(name)!r} from {str(path)!r}")
                return
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`chat --list` shows what there is"
    raise ConfigError(f"no chat {name!r} is stored in {str(path)!r}; {hint}")
