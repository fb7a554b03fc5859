"""A hub on the loopback with a cache of its own, and a random model to serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants

from empathy_agent.testing.hub_server import HubServer
from empathy_agent.testing.random_gguf import write_random_gguf


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random model whose tags are CONTROL tokens."""
    return write_random_gguf(tmp_path_factory.mktemp("gguf") / "random.gguf")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Point huggingface_hub, whose settings are read at its import, at a stand-in of the hub."""
    with HubServer() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what a cut loses at most
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "EMPATHY_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        never = SimpleNamespace(sleep=lambda _seconds: None)
        monkeypatch.setattr("huggingface_hub.file_download.time", never)
        monkeypatch.setattr("huggingface_hub.utils._http.time", never)
        yield server
        close_session()
