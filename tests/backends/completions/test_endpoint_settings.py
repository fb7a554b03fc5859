"""Settings of an endpoint: templates by name or file, refusals, the key, and how it is given back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.backends.requests import Message, Request
from empathy_agent.errors import ConfigError
from empathy_agent.segments import Segment
from empathy_agent.testing.fault_server import FaultServer

pytestmark = pytest.mark.enable_socket

Serve = Callable[[Mapping[str, Callable[[dict[str, Any]], object]]], Any]


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "mistral", "plain"])
def test_a_named_template_carries_every_message(serve: Serve, name: str) -> None:
    messages = [
        Message("system", "你是倾听者。", trusted=True),
        Message("user", "甲"),
        Message("assistant", "乙"),
        Message("user", "丙"),
    ]
    with CompletionsBackend(serve({}).url, model="m", chat_template=name) as backend:
        segments = backend.render(messages)
        assert [one.text for one in segments if not one.control] == [
            one.content for one in messages
        ]
        assert backend.capabilities.chat_template == ("plain" if name == "plain" else "model")


def test_a_template_file_is_taken(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}", encoding="utf-8")
    with CompletionsBackend(serve({}).url, model="m", chat_template=str(file)) as backend:
        texts = [one.text for one in backend.render([Message("user", "甲")])]
    assert texts == ["[", "甲", "]"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://me:pw@host/v1"}, "credentials"),
        ({"max_parallel": 0}, "max_parallel"),
        ({"retries": -1}, "retries"),
        ({"read_timeout_s": 0}, "read_timeout_s"),
        ({"context_size": 8}, "context_size"),
        ({"api_key": "a\nb"}, "headers"),
        ({"chat_template": "chatml2"}, "did you mean 'chatml'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        CompletionsBackend(**{"base_url": "http://127.0.0.1:1/v1", **options})


def test_the_environments_key_goes_to_openai_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    with FaultServer() as server, CompletionsBackend(server.url) as backend:
        backend.complete(Request((Segment("a"),), (), 4))
    assert "authorization" not in server.headers[0]


def test_a_backend_that_is_dropped_gives_its_thread_back(serve: Serve) -> None:
    backend = CompletionsBackend(serve({}).url, model="m")
    thread = backend._jobs._thread
    del backend
    thread.join(timeout=5)
    assert not thread.is_alive()
