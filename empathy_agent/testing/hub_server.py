"""A stand-in of the hub's API on the loopback, for tests that run the real huggingface_hub.

    with HubServer() as hub:
        hub.add("org/repo", {"model-Q4_K_M.gguf": data})
        hub.fail("model-Q4_K_M.gguf", Failure(cut_after=1000))
        ...  # with HF_ENDPOINT set to hub.url

It serves what a download asks for: a model's description, the tree of a revision, and the files,
small ones directly, large ones (`.gguf`, `.safetensors`) by a redirect as the hub does, with ranges
and checksums. Every request is recorded; a failure is planned per address and spent as it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

_LARGE = (".gguf", ".safetensors")
_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_STORED = re.compile(r"/stored/(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True)
class HubRequest:
    """What was asked for, and how."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Failure:
    """What goes wrong at an address, `times` times."""

    status: int | None = None
    """The HTTP status to answer with; without one, it is the content that suffers."""
    code: str | None = None
    """The hub's `X-Error-Code` beside the status."""
    cut_after: int | None = None
    """Bytes of the content after which the connection is closed."""
    is_wrong: bool = False
    """Whether the bytes are others than promised."""
    hold: threading.Event | None = None
    """The content is sent only when this is set."""
    times: int = 1


@dataclass
class _Repository:
    files: Mapping[str, bytes]
    revision: str
    is_gated: bool
    commit: str = field(init=False)

    def __post_init__(self) -> None:
        names = [*(f"{name}:{len(data)}" for name, data in self.files.items()), self.revision]
        content = b"".join(self.files.values()) + "\n".join(names).encode()
        self.commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()

    def has(self, revision: str) -> bool:
        return revision in (self.revision, self.commit)


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubServer:
    """The server; a context manager."""

    def __init__(self) -> None:
        self.requests: list[HubRequest] = []
        """All requests so far, in order."""
        self._repositories: dict[str, _Repository] = {}
        self._failures: list[tuple[str, Failure]] = []
        self._servers = (_Server(self), _Server(self))
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,)) for server in self._servers
        ]

    @property
    def url(self) -> str:
        """What to set HF_ENDPOINT to."""
        return self._servers[0].url

    @property
    def storage_url(self) -> str:
        """Where large files are: another origin, so that a token is not sent there."""
        return self._servers[1].url

    def add(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        revision: str = "main",
        is_gated: bool = False,
    ) -> str:
        """Serve a repository, in place of an earlier one of that name, and return its commit."""
        self._repositories[repo] = _Repository(files, revision, is_gated)
        return self._repositories[repo].commit

    def fail(self, part: str, failure: Failure) -> None:
        """Plan a failure for addresses that contain `part`; failures are spent in order.

        A large file's name also stands for where its content is stored.
        """
        self._failures.append((part, failure))

    def ranges(self) -> list[str]:
        """Return the ranges that were asked for."""
        return [request.range for request in self.requests if request.range]

    def stored(self, digest: str) -> tuple[str, bytes] | None:
        """Return name and content of the large file with this SHA-256."""
        for repository in self._repositories.values():
            for name, data in repository.files.items():
                if hashlib.sha256(data).hexdigest() == digest:
                    return name, data
        return None

    def repository(self, repo: str) -> _Repository | None:
        """Return a repository by its name."""
        return self._repositories.get(repo)

    def take_failure(self, address: str, *, has_body: bool) -> Failure | None:
        """Return the failure planned for this address, and spend it."""
        for part, failure in self._failures:
            if part in address and (has_body or failure.status):
                failure.times -= 1
                if failure.times < 1:
                    self._failures.remove((part, failure))
                return failure
        return None

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.server.hub.requests.append(
            HubRequest(self.command, path, headers["Range"], headers["Authorization"])
        )
        if match := _STORED.fullmatch(path):
            self._send_stored(match["digest"])
        elif match := _FILE.fullmatch(path):
            self._send_file(match["repo"], match["revision"], match["path"])
        elif match := _TREE.fullmatch(path):
            self._send_tree(match["repo"], match["revision"])
        elif match := _INFO.fullmatch(path):
            self._send_info(match["repo"], match["revision"] or "main")
        else:
            self._send(404, b"", {})

    def _find(self, repo: str, revision: str) -> _Repository | None:
        """Return the repository, or answer with what is wrong."""
        path = unquote(urlsplit(self.path).path)
        failure = self.server.hub.take_failure(path, has_body=False)
        repository = self.server.hub.repository(repo)
        if failure is not None and failure.status:
            code = {"X-Error-Code": failure.code} if failure.code else {}
            self._send(failure.status, b"", code)
        elif repository is None:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repository.is_gated and not self.headers["Authorization"]:
            self._send(401, b"", {"X-Error-Code": "GatedRepo"})
        elif not repository.has(revision):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _send_info(self, repo: str, revision: str) -> None:
        if repository := self._find(repo, revision):
            files = [{"rfilename": name} for name in repository.files]
            info = {"id": repo, "modelId": repo, "sha": repository.commit, "siblings": files}
            self._send(200, json.dumps(info).encode(), {})

    def _send_tree(self, repo: str, revision: str) -> None:
        if repository := self._find(repo, revision):
            tree = [_entry(name, data) for name, data in repository.files.items()]
            self._send(200, json.dumps(tree).encode(), {})

    def _send_file(self, repo: str, revision: str, name: str) -> None:
        repository = self._find(repo, revision)
        if repository is None:
            return
        headers = {"X-Repo-Commit": repository.commit}
        data = repository.files.get(name)
        if data is None:
            self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
        elif name.endswith(_LARGE):
            digest = hashlib.sha256(data).hexdigest()
            headers["X-Linked-Etag"] = f'"{digest}"'
            headers["X-Linked-Size"] = str(len(data))
            self._send(
                302, b"", {**headers, "Location": f"{self.server.hub.storage_url}/stored/{digest}"}
            )
        else:
            self._send_body(name, data, {**headers, "ETag": f'"{_git_digest(data)}"'})

    def _send_stored(self, digest: str) -> None:
        found = self.server.hub.stored(digest)
        if found is None:
            self._send(404, b"", {})
        else:
            self._send_body(*found, {"ETag": f'"{digest}"'})

    def _send_body(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        status, size = 200, len(data)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked:
            start = int(asked[1])
            status, data = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        has_body = self.command == "GET"
        failure = self.server.hub.take_failure(name, has_body=True) if has_body else None
        if failure and failure.status:
            self._send(failure.status, b"", {})
        else:
            self._send(status, data, headers, failure)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        failure: Failure | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if failure and failure.hold:
            failure.hold.wait()
        if failure and failure.is_wrong:
            body = bytes(byte ^ 0xFF for byte in body)
        if failure and failure.cut_after is not None:
            self.wfile.write(body[: failure.cut_after])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _entry(name: str, data: bytes) -> dict[str, object]:
    """Return a file as the tree lists it."""
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data)}
    entry["oid"] = _git_digest(data)
    if name.endswith(_LARGE):
        oid = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 135}
    return entry


def _git_digest(data: bytes) -> str:
    content = b"blob %d\0" % len(data) + data
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
