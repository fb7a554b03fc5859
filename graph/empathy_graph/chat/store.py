"""Conversations on disk, only when asked for: LangGraph's SQLite saver over one private file.

A thread is written as a checkpoint of the empathy graph whose `messages` are the conversation, so any LangGraph host
with the same saver reads it back and can go on with it. Of the checkpoints that this store wrote only the newest is
kept. Deleting is meant: `secure_delete`, an emptied write-ahead log and a `VACUUM` leave nothing of a thread in the
file. What is read back is held to LangGraph's list of safe types, because a file may come from anywhere.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, cast

from langchain_core.messages import AnyMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph

from empathy_agent.errors import ConfigError, boundary
from empathy_graph.state import EmpathyState

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite import SqliteSaver

_MARK = {"writer": "empathy-agent chat"}
"""Metadata of the checkpoints we write; those of a host are left alone."""


class StoredThread(NamedTuple):
    """One line of the list of threads."""

    name: str
    messages: int
    changed: str
    """ISO 8601, UTC."""


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where conversations are stored unless a file is named."""
    home = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "empathy-agent" / "chats.sqlite"


class ChatStore:
    """The threads of one file; a context manager.

    Args:
        path: The SQLite file. It and its folder are created for this user alone.

    Raises:
        ConfigError: The extra is missing, or the file is not ours to use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        saver = _saver_class()
        with boundary(ConfigError, f"opening the history file {str(path)!r}"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(path, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA secure_delete = ON")
                self._connection.execute("PRAGMA temp_store = MEMORY")  # for VACUUM
                serde = JsonPlusSerializer(allowed_msgpack_modules=None)
                self.saver: SqliteSaver = saver(self._connection, serde=serde)
                self.saver.setup()
            except BaseException:
                self._connection.close()
                raise
        self._graph = _threads_graph().compile(checkpointer=self.saver, name="empathy")

    def threads(self) -> list[StoredThread]:
        """Return all threads, the one that changed last first."""
        found: dict[str, StoredThread] = {}
        with boundary(ConfigError, f"reading the history file {str(self.path)!r}"):
            for entry in self.saver.list(None):
                name = entry.config["configurable"]["thread_id"]
                messages = entry.checkpoint["channel_values"].get("messages", [])
                thread = StoredThread(name, len(messages), entry.checkpoint["ts"])
                found[name] = max(found.get(name, thread), thread, key=lambda one: one.changed)
        return sorted(found.values(), key=lambda one: one.changed, reverse=True)

    def read(self, name: str) -> list[AnyMessage] | None:
        """Return the messages of a thread, None where there is no such thread."""
        with boundary(ConfigError, f"reading the history file {str(self.path)!r}"):
            entry = self.saver.get_tuple(_config(name))
        if entry is None:
            return None
        # A host's file may hold anything under the name; `AnyMessage` is the union of the kinds of `BaseMessage`.
        messages = entry.checkpoint["channel_values"].get("messages", [])
        return [cast("AnyMessage", one) for one in messages if isinstance(one, BaseMessage)]

    def write(self, name: str, messages: Sequence[AnyMessage]) -> None:
        """Store the conversation; a message whose id is there already replaces that one."""
        with boundary(ConfigError, f"writing the history file {str(self.path)!r}"):
            config: RunnableConfig = {**_config(name), "metadata": dict(_MARK)}
            self._graph.update_state(config, {"messages": list(messages)}, as_node="respond")
            self._prune(name)

    def _prune(self, name: str) -> None:
        ours = [
            entry.config["configurable"]["checkpoint_id"]
            for entry in self.saver.list(_config(name), filter=dict(_MARK))
        ]
        with self.saver.cursor() as cursor:
            for table in ("checkpoints", "writes"):
                cursor.executemany(
                    f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id = ?",
                    [(name, checkpoint) for checkpoint in ours[1:]],
                )

    def delete(self, name: str) -> None:
        """Delete a thread, and its bytes from the file.

        Raises:
            ConfigError: The file cannot be written, or another program holds it, so bytes may be left in it.
        """
        with boundary(ConfigError, f"deleting from the history file {str(self.path)!r}"):
            self.saver.delete_thread(name)
            is_busy = self._empty_log()
            self._connection.execute("VACUUM")
            is_busy = self._empty_log() or is_busy
        if is_busy:
            raise ConfigError(
                "the conversation is deleted, but another program has the history file open, so bytes of it may be left"
                " in the file; close that program and delete the thread once more"
            )

    def _empty_log(self) -> bool:
        with closing(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")) as rows:
            return bool(rows.fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _saver_class() -> type[SqliteSaver]:
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError:
        pass
    else:
        return SqliteSaver
    raise ConfigError("to store conversations, pip install 'empathy-agent[sqlite]'")


def _config(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name, "checkpoint_ns": ""}}


def _threads_graph() -> StateGraph[EmpathyState, None, EmpathyState, EmpathyState]:
    """Return what is enough of the empathy graph to write its state: the channels, and the node that ends a turn."""
    graph = StateGraph(EmpathyState)
    graph.add_node("respond", lambda state: {})
    graph.add_edge(START, "respond")
    graph.add_edge("respond", END)
    return graph
