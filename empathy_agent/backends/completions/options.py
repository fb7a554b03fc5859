"""What a `CompletionsBackend` was told, checked before anything is sent.

The key of the environment is taken for OpenAI's own host alone: a variable that many tools set is
never handed to another server. Nothing here has a `repr` that shows a header.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from empathy_agent.errors import ConfigError

_KEY_VARIABLE = "OPENAI_API_KEY"
_KEY_HOST = "api.openai.com"


@dataclass(frozen=True)
class Options:
    """The settings of one endpoint; see `CompletionsBackend` for their meaning."""

    base_url: str
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    tokenizer: Path | None = None
    chat_template: str = "auto"
    context_size: int | None = None
    max_parallel: int = 16
    max_waiting: int = 256
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    retries: int = 3
    back_off_s: float = 0.5
    affinity_header: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: The address, a number or a header is unusable.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("'base_url' must be an address such as 'http://127.0.0.1:8000/v1'")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                "'base_url' must hold no credentials and no query; use 'api_key' or 'headers'"
            )
        for key, least in (("max_parallel", 1), ("max_waiting", 1), ("retries", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"{key!r} must be at least {least}")
        for key in ("connect_timeout_s", "read_timeout_s", "back_off_s"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"{key!r} must be more than 0 seconds")
        if self.context_size is not None and self.context_size < 256:
            raise ConfigError("'context_size' must be at least 256 tokens")
        named = {**self.headers, **({self.affinity_header: ""} if self.affinity_header else {})}
        for key, value in {**named, "api_key": self.key or ""}.items():
            if not (key.isascii() and value.isascii() and (key + value).isprintable()):
                raise ConfigError("headers and the key must be printable ASCII without line breaks")

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return self.base_url.rstrip("/")

    @property
    def root(self) -> str:
        """The address that the server's own endpoints are under."""
        return self.url.removesuffix("/v1")

    @property
    def host(self) -> str:
        """Host and port, as messages name them."""
        return urlsplit(self.base_url).netloc

    @property
    def key(self) -> str | None:
        """The key to send: the one given, or for OpenAI's own host that of the environment."""
        if self.api_key is None and urlsplit(self.base_url).hostname == _KEY_HOST:
            return os.environ.get(_KEY_VARIABLE) or None
        return self.api_key

    def all_headers(self) -> dict[str, str]:
        """Return the headers of every call."""
        headers = {"User-Agent": "empathy-agent", **self.headers}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers
