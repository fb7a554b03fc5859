"""A completions server that fails as it is told: for tests, and for the table of `bench.faults`.

It listens on the loopback interface, speaks OpenAI's `/v1/completions` over the built-in script of
`FakeBackend`, and commits one fault of its script for each completion it is asked for; behind the
script it is healthy. Like a real model it goes on with whatever the prompt ends in, so a client
that continues a broken answer gets the rest of it and not the beginning again.

    with FaultServer(["cut in mid-stream"]) as server:
        backend = CompletionsBackend(server.url, back_off_s=0.01)
"""

from __future__ import annotations

import json
import re
import select
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

from empathy_agent.backends.fake_script import default_line, written_so_far
from empathy_agent.backends.requests import Request
from empathy_agent.segments import ALL_TAGS, Segment, control

Fault = Literal[
    "none",
    "429 with Retry-After",
    "429 for long",
    "503",
    "500",
    "cut before the first byte",
    "cut in mid-stream",
    "error in mid-stream",
    "slow drip",
    "silence",
    "line that is no JSON",
    "JSON of another shape",
    "empty choices",
    "HTML page",
    "HTML error page",
    "redirect",
    "401",
    "404",
    "context length",
    "unknown field",
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)

MODEL = "scripted"
SECRET = "prompt-echo"
"""Put into error bodies beside the prompt; no message of ours may hold it."""

_PIECE = 3  # characters of a chunk
_HEALTHY_PIECES = 4  # chunks that go out before a fault in mid-stream
_DRIP_S = 0.05
_STATUS: Final[Mapping[str, int]] = {
    "429 with Retry-After": 429,
    "429 for long": 429,
    "503": 503,
    "500": 500,
    "401": 401,
    "404": 404,
    "context length": 400,
    "unknown field": 400,
    "HTML error page": 502,
}
_WORDS: Final[Mapping[str, str]] = {
    "context length": "This model's maximum context length is 4096 tokens",
    "unknown field": "Unrecognized request argument supplied: stream_options",
}
_TAGS = re.compile("({})".format("|".join(map(re.escape, ALL_TAGS))))


class FaultServer:
    """Serves on a free port of 127.0.0.1 while the block runs.

    Args:
        faults: What happens to the completions, in order; afterwards all is well.
        forever: Commit the last fault again and again instead.
        owned_by: What `/v1/models` says of the model, which tells its kind.
    """

    def __init__(
        self, faults: Iterable[Fault] = (), *, forever: bool = False, owned_by: str = "tests"
    ) -> None:
        self.faults = list(faults)
        self.forever = forever
        self.owned_by = owned_by
        self.bodies: list[dict[str, Any]] = []
        """What completions were asked for with."""
        self.headers: list[dict[str, str]] = []
        """The headers of these, names in lower case."""
        self.asked = threading.Event()
        """Set when the first completion is asked for."""
        self.left = threading.Event()
        """Set when a client has closed the connection of an answer under way."""
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.script = self
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.01,), name="fault server", daemon=True
        )

    @property
    def url(self) -> str:
        """The `base_url` of this server."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def take(self, body: dict[str, Any], headers: Mapping[str, str]) -> Fault:
        """Record a completion that is asked for and return what is to happen to it."""
        with self._lock:
            self.bodies.append(body)
            self.headers.append({key.lower(): value for key, value in headers.items()})
            self.asked.set()
            if not self.faults:
                return "none"
            return self.faults[0] if self.forever and len(self.faults) == 1 else self.faults.pop(0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    script: FaultServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer `/v1/models`."""
        if self.path != "/v1/models":
            return self._send(404, b"{}")
        entry = {"id": MODEL, "object": "model", "owned_by": self.server.script.owned_by}
        return self._send(200, json.dumps({"object": "list", "data": [entry]}).encode())

    def do_POST(self) -> None:
        """Commit the next fault, or answer."""
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/completions":
            return self._send(404, b"{}")
        body = json.loads(data)
        fault = self.server.script.take(body, dict(self.headers.items()))
        if fault == "unknown field" and "stream_options" not in body:
            fault = "none"
        if fault in _STATUS:
            return self._refuse(fault, str(body["prompt"]))
        if fault == "HTML page":
            return self._send(200, b"<html>Please log in</html>", kind="text/html")
        if fault == "redirect":
            return self._send(307, b"", headers={"Location": "/elsewhere"})
        if fault == "silence":
            return self._wait()
        if fault == "cut before the first byte":
            self.close_connection = True
            return None
        return self._stream(fault, body)

    def _refuse(self, fault: Fault, prompt: str) -> None:
        words = f"{_WORDS.get(fault, 'refused')}. {SECRET} {prompt}"
        headers = {"429 with Retry-After": "0", "429 for long": "3600"}
        after = {"Retry-After": headers[fault]} if fault in headers else {}
        if fault == "HTML error page":
            page = f"<html>502 {SECRET}</html>".encode()
            return self._send(_STATUS[fault], page, kind="text/html")
        error = {"error": {"message": words, "type": "invalid_request_error", "code": None}}
        return self._send(_STATUS[fault], json.dumps(error).encode(), headers=after)

    def _send(
        self,
        status: int,
        data: bytes,
        *,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Type": kind}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, fault: Fault, body: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text, finish = _answer(body)
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        script = self.server.script
        for index, piece in enumerate(pieces):
            if index == _HEALTHY_PIECES and fault != "none" and fault != "slow drip":
                return self._break_off(fault)
            if fault == "slow drip" and self._has_left(_DRIP_S):
                return None
            if not self._event({"choices": [{"index": 0, "text": piece, "finish_reason": None}]}):
                script.left.set()
                return None
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(pieces) + 1}
        self._event({"choices": [{"index": 0, "text": "", "finish_reason": finish}]})
        self._event({"choices": [], "usage": usage})
        self._data(b"data: [DONE]\n\n")
        self._data(b"")
        return None

    def _break_off(self, fault: Fault) -> None:
        if fault == "error in mid-stream":
            self._event({"error": {"message": f"worker died {SECRET}", "code": 500}})
        elif fault == "line that is no JSON":
            self._data(b"data: {half\n\n")
        elif fault == "JSON of another shape":
            self._event({"answer": 42})
        elif fault == "empty choices":
            self._event({"choices": []})
            self._data(b"data: [DONE]\n\n")
        # Without the last, empty chunk the client knows that the answer is not whole.
        self.close_connection = True

    def _event(self, value: object) -> bool:
        return self._data(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def _data(self, data: bytes) -> bool:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        except OSError:
            return False
        return True

    def _wait(self) -> None:
        """Answer nothing until the client leaves or the server closes."""
        while not self._has_left(0.01):
            pass
        self.close_connection = True

    def _has_left(self, wait_s: float) -> bool:
        """Wait, and return whether the client has closed the connection."""
        script = self.server.script
        is_readable, _, _ = select.select([self.connection], [], [], wait_s)
        if is_readable:  # a client with an answer under way says nothing: it has left
            script.left.set()
            self.close_connection = True
        return bool(is_readable) or script.closing.is_set()


def _answer(body: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the script says to a prompt in the plain template, and why it ends."""
    before, _, transcript = str(body["prompt"]).rpartition("### Assistant\n")
    post = before.rpartition("### User\n")[2].removesuffix("\n\n")
    parts = [part for part in _TAGS.split(transcript) if part]
    request = Request(
        (
            control("### User\n"),
            Segment(post),
            control("\n\n### Assistant\n"),
            *(Segment(part, control=part in ALL_TAGS) for part in parts),
        )
    )
    line = default_line(request).removeprefix(written_so_far(request))
    for stop in body.get("stop") or ():
        line = line.partition(stop)[0]
    limit = int(body["max_tokens"]) * _PIECE
    return line[:limit], "length" if len(line) > limit else "stop"
