"""Stored chats: private, readable by a LangGraph host, complete after every turn, gone when forgotten."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.errors import ConfigError
from empathy_graph.builder import build_graph
from empathy_graph.chat.store import ChatStore, default_path
from tests.graph.chat_parts import chatting
from tests.graph.posts import POST, SECRET

pytest.importorskip("langgraph.checkpoint.sqlite")
CONFIG: RunnableConfig = {"configurable": {"thread_id": "夜里"}}


def stored_bytes(tmp_path: Path) -> bytes:
    """Return all that lies in the data folder, the write-ahead log included."""
    return b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())


def test_the_file_and_its_folder_are_for_this_user_alone(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        chat.type(POST, "/save 夜里")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes.pop("data") == 0o700
    assert "chats.sqlite-wal" in modes
    assert set(modes.values()) == {0o600}


def test_a_host_reads_the_thread_back_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    with chatting(tmp_path) as chat:
        chat.type(POST, "/save 夜里", "后来他道歉了。")
        texts = chat.texts
    connection = sqlite3.connect(tmp_path / "data" / "chats.sqlite", check_same_thread=False)
    try:
        saver = SqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        graph = build_graph(FakeBackend(), checkpointer=saver)
        state = graph.get_state(CONFIG)
        assert [message.text for message in state.values["messages"]] == texts
        assert state.next == ()
        result = graph.invoke({"messages": [HumanMessage("还有一件事。")]}, CONFIG)
        assert len(result["messages"]) == 6
    finally:
        connection.close()
    with chatting(tmp_path, thread="夜里") as chat:
        assert len(chat.texts) == 6
        assert "L1" in chat.type("/chain")


def test_the_stored_types_are_all_on_the_safe_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with chatting(tmp_path) as chat:
        chat.type("/save 夜里", POST)
    with ChatStore(tmp_path / "data" / "chats.sqlite") as store:
        messages = store.read("夜里")
    assert messages is not None
    assert [type(message) for message in messages] == [HumanMessage, AIMessage]
    assert caplog.text == ""


def test_every_turn_is_on_disk_as_it_ends_and_only_the_newest_checkpoint_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data" / "chats.sqlite"
    with chatting(tmp_path, {"answer": ["一。", "二。", "二二。"]}) as chat:
        chat.type("/save 夜里")
        for line, count in ((POST, 2), ("后来他道歉了。", 4), ("/retry", 4)):
            chat.type(line)
            with sqlite3.connect(path) as other:
                (checkpoints,) = other.execute("SELECT count(*) FROM checkpoints").fetchone()
            other.close()
            with ChatStore(path) as store:
                assert [thread.messages for thread in store.threads()] == [count]
                messages = store.read("夜里")
            assert checkpoints == 1
    assert messages is not None
    assert messages[-1].text == "二二。"


def test_a_name_that_is_taken_is_refused_and_a_second_save_changes_nothing(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        chat.type(POST, "/save 夜里")
        assert "已经存为" in chat.type("/save 别名")
    with chatting(tmp_path) as chat:
        chat.type("别的事。")
        assert "换一个名字" in chat.type("/save 夜里")
        assert chat.session.thread is None
        assert "别名" in chat.type("/save 别名")
    with ChatStore(tmp_path / "data" / "chats.sqlite") as store:
        assert {thread.name for thread in store.threads()} == {"夜里", "别名"}


@pytest.mark.parametrize("is_terminal", [False, True])
def test_forget_leaves_no_byte_of_the_conversation(tmp_path: Path, is_terminal: bool) -> None:
    with chatting(tmp_path, {"answer": "听到「胡思乱想」了。"}, is_terminal=is_terminal) as chat:
        chat.type(POST, "/save 夜里", POST, "/retry")
        words = [SECRET.encode(), "胡思乱想".encode(), "夜里".encode()]
        assert all(word in stored_bytes(tmp_path) for word in words)
        printed = chat.type("/forget")
        assert ("\x1b[3J" in printed) is is_terminal
        assert "删掉" in printed
        left = stored_bytes(tmp_path)
        assert not [word for word in words if word in left]
        assert chat.texts == []
        chat.type("新的话题。")
        assert SECRET not in chat.backend.calls[-1].prompt
        assert "新的话题".encode() not in stored_bytes(tmp_path)


def test_forget_empties_the_models_cache(tmp_path: Path) -> None:
    class Forgetful(FakeBackend):
        forgot = 0

        def forget(self) -> None:
            self.forgot += 1
            super().forget()

    backend = Forgetful()
    with chatting(tmp_path, backend=backend) as chat:
        chat.type(POST, "/forget", POST)
        assert backend.forgot == 1
        last = chat.session.conversation.last
        assert last is not None
        assert last.reply is not None


def test_forget_says_so_where_another_program_keeps_the_bytes(tmp_path: Path) -> None:
    with chatting(tmp_path) as chat:
        chat.type(POST, "/save 夜里")
        other = sqlite3.connect(tmp_path / "data" / "chats.sqlite")
        other.execute("BEGIN")
        other.execute("SELECT * FROM checkpoints").fetchall()
        chat.session._store._connection.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
        assert "close that program" in chat.type("/forget")
        other.close()
        assert chat.texts == []


def test_deleting_one_thread_leaves_the_others(tmp_path: Path) -> None:
    for name in ("一", "二"):
        with chatting(tmp_path) as chat:
            chat.type(POST, f"/save {name}")
    with ChatStore(tmp_path / "data" / "chats.sqlite") as store:
        store.delete("一")
        assert [thread.name for thread in store.threads()] == ["二"]


def test_a_stored_text_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with ChatStore(tmp_path / "data" / "chats.sqlite") as store:
        store.write("夜里", [HumanMessage("a\x1b[2J"), AIMessage("b\x9b31m\x07")])
    with chatting(tmp_path, thread="夜里") as chat:
        assert "a[2J" in chat.printed
        assert not set(chat.printed) & set("\x1b\x07\x9b")


def test_a_turn_that_cannot_be_stored_is_told_and_stored_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "data" / "chats.sqlite"
    with chatting(tmp_path) as chat:
        chat.type("/save 夜里")
        chat.session._store._connection.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        assert "没能存下来" in chat.type(POST)
        other.close()
        chat.type("后来他道歉了。")
    with ChatStore(path) as store:
        assert [thread.messages for thread in store.threads()] == [4]


def test_a_file_that_is_no_history_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "data" / "chats.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to look at" * 30)
    with chatting(tmp_path) as chat:
        assert "chats.sqlite" in chat.type(POST, "/save")
        assert chat.session.thread is None
    with pytest.raises(ConfigError, match=r"chats\.sqlite"):
        ChatStore(path)


def test_without_the_extra_saving_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.sqlite", None)
    with chatting(tmp_path) as chat:
        assert "empathy-agent[sqlite]" in chat.type("/save")
    assert list(tmp_path.iterdir()) == []


def test_the_default_place_follows_xdg() -> None:
    assert default_path({"XDG_DATA_HOME": "/data"}) == Path("/data/empathy-agent/chats.sqlite")
    assert default_path({}).parts[-4:-1] == (".local", "share", "empathy-agent")


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name"), chatting(tmp_path, thread=" "):
        pass
