"""Servers to continue against: llama_cpp.server in a process of its own, and stubs with given routes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from empathy_agent.segments import ALL_TAGS

Route = Callable[[dict[str, Any]], object]


def start_llama_cpp_server(model: Path) -> Iterator[str]:
    """Yield the address of a llama_cpp.server that serves `model`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    settings = "--host 127.0.0.1 --n_ctx 8192 --n_threads 1 --verbose False --model_alias served"
    process = subprocess.Popen(
        [*command, *settings.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(300):
            if process.poll() is not None:
                pytest.skip("llama_cpp.server does not start here")
            try:
                if httpx.get(f"{url}/models", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def llama_cpp_url(plain_gguf: Path) -> Iterator[str]:
    """Yield a server whose model knows no tags."""
    pytest.importorskip("llama_cpp.server.app")
    yield from start_llama_cpp_server(plain_gguf)


@pytest.fixture(scope="session")
def embedded_url(repository: Path) -> Iterator[str]:
    """Yield a server of the embedded model."""
    pytest.importorskip("llama_cpp.server.app")
    yield from start_llama_cpp_server(
        repository / "empathy_agent" / "models" / "empathy-tiny-zh.gguf"
    )


class StubServer:
    """Answers each path with what its route returns for the body: JSON, a list of events, or a status."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = dict(routes)
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None:
                return

            def do_GET(self) -> None:
                self.answer({})

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self.answer(json.loads(self.rfile.read(length)))

            def answer(self, body: dict[str, Any]) -> None:
                stub.bodies.append((self.path, body))
                route = stub.routes.get(self.path)
                value = None if route is None else route(body)
                status = value if isinstance(value, int) else 404 if value is None else 200
                self.send_response(status)
                kind = "text/event-stream" if isinstance(value, list) else "application/json"
                self.send_header("Content-Type", kind)
                self.end_headers()
                if isinstance(value, list):
                    for event in value:
                        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                    self.wfile.write(b"data: [DONE]\n\n")
                else:
                    self.wfile.write(json.dumps({} if status != 200 else value).encode())

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The `base_url`."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def sent(self, path: str) -> list[dict[str, Any]]:
        """Return the bodies that came to `path`."""
        return [body for one, body in self.bodies if one == path]

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Mapping[str, Route]], StubServer]]:
    """Return what starts stub servers; they are stopped after the test."""
    started: list[StubServer] = []

    def start(routes: Mapping[str, Route]) -> StubServer:
        started.append(StubServer(routes))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a byte-level tokenizer whose tags are special tokens, and a template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ("<|im_start|>", "<|im_end|>", *ALL_TAGS)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "eos_token": {"content": "<|im_end|>"},
                "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                "<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
            }
        ),
        encoding="utf-8",
    )
    return folder
