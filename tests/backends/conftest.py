"""Models and a server, made once a session: tiny random weights, and a real `llama_cpp.server`."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from empathy_agent.testing.random_checkpoint import Family, write_random_checkpoint
from empathy_agent.testing.random_gguf import write_random_gguf

_EMBEDDED = Path(__file__).parents[2] / "empathy_agent" / "models" / "empathy-tiny-zh.gguf"
_SERVER = ("-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", "0", "--verbose", "false")


@pytest.fixture(scope="session")
def tagged_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose tags are CONTROL tokens, with a chat template."""
    return write_random_gguf(tmp_path_factory.mktemp("gguf") / "tagged.gguf")


@pytest.fixture(scope="session")
def plain_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that knows no tags and has no chat template."""
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    return write_random_gguf(path, has_tags=False, chat_template=None, seed=1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Path]:
    """Return what gives the folder of a family's random safetensors model, written once."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    root = tmp_path_factory.mktemp("checkpoints")

    def write(family: Family) -> Path:
        path = root / family
        return path if path.exists() else write_random_checkpoint(path, family)

    return write


@pytest.fixture(scope="session")
def llama_cpp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a real server that serves the embedded model on the loopback."""
    pytest.importorskip("uvicorn", reason="llama-cpp-python[server] is not installed")
    log = tmp_path_factory.mktemp("server") / "log"
    model = ("--model", str(_EMBEDDED), "--n_ctx", "1024", "--n_threads", "1")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, *_SERVER, *model], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield f"{_address(server, log)}/v1"
    finally:
        server.kill()
        server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server has said where it listens."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and server.poll() is None:
        if found := re.search(r"running on (http://\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    pytest.fail("llama_cpp.server does not start")
