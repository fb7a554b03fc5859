"""A scripted model for tests and demonstrations: no weights, but the whole behaviour of a backend.

`FakeBackend()` answers with a small chain that quotes the post, in Chinese or English. A script
says otherwise: a mapping from the part (`"L1"` to `"L4"`, `"answer"`, `"single_pass"`) or its
closing tag to a line, a list of lines in order of the calls, or a function of the request. A line
is a text, an exception to raise, a function, or a list of lines to use up. After its text the
model "writes" the first stop string, as a model that was trained to would.

Tokens are characters, tags are tokens of their own, and the cache is kept like a real one: usage
counts, leases, deadlines and cancellation are those of the real backend, because the code is the
same.

    backend = FakeBackend({"L3": "倾听。", "answer": BackendTimeout("scripted")})
    backend.complete(request)
    assert backend.calls[0].part == "L3"
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle

from empathy_agent.backends.chat_template import plain_template, render_segments
from empathy_agent.backends.fake_script import default_line, part_of, written_so_far
from empathy_agent.backends.generation import Part
from empathy_agent.backends.requests import Capabilities, Message, Request
from empathy_agent.backends.token_backend import TokenBackend
from empathy_agent.backends.worker import MAX_WAITING
from empathy_agent.errors import BackendError, BackendUnavailable
from empathy_agent.segments import ALL_TAGS, Segment

Line = str | BaseException | Callable[[Request], str] | list["Line"]
Script = Mapping[str, Line] | list[Line] | Callable[[Request], str]

END = "<|end|>"
"""The fake's end token; a line that ends with it finishes with `"eos"` instead of a stop string."""
_FIRST_SPECIAL = 0x110000  # one past the last code point


@dataclass(frozen=True)
class FakeCall:
    """One request as the fake saw it."""

    request: Request
    part: str
    """`"L1"` … `"L4"`, `"answer"` or `"single_pass"`."""
    prompt: str
    """The text of all segments."""


class FakeBackend(TokenBackend):
    """A backend that says what its script says.

    Args:
        script: See the module's text; None for the built-in one.
        control_tags: Whether tags are tokens of their own, as in a model we trained; otherwise they
            are spelled out character by character, as in any other model.
        context_size: Tokens (characters) that prompt and completion may have together.
        parallel_sequences: How many prefixes are kept side by side.
        delay_s: Seconds that each batch takes: up to 128 characters of prompts and one of each text.
        can_rollback: Whether the cache can be set back, as a recurrent model's cannot.
        batching: Whether requests share batches; otherwise they take turns.
        max_waiting: Requests that may wait before further ones are refused with `BackendBusy`.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        control_tags: bool = True,
        context_size: int = 8192,
        parallel_sequences: int = 4,
        delay_s: float = 0.0,
        can_rollback: bool = True,
        batching: bool = True,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.calls: list[FakeCall] = []
        """Every request that began, in order."""
        self._specials = (END, *(ALL_TAGS if control_tags else ()))
        model = _FakeModel(self._specials, script, self.calls, context_size, delay_s, can_rollback)
        model.cache_tokens = context_size * parallel_sequences
        self._capabilities = Capabilities(
            ids=True,
            exact_borders=True,
            prefix_cache=True,
            rollback=can_rollback,
            chat_template="plain",
            control_tags=control_tags,
            parallel_sequences=parallel_sequences,
        )
        super().__init__(model, parallel_sequences, is_batching=batching, max_waiting=max_waiting)

    @property
    def name(self) -> str:
        """Always `"fake"`."""
        return "fake"

    @property
    def capabilities(self) -> Capabilities:
        """What this fake promises, after its arguments."""
        return self._capabilities

    @property
    def special_strings(self) -> tuple[str, ...]:
        """The end token and, where tags are tokens, the tags."""
        return self._specials

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Apply the plain template."""
        return render_segments(plain_template, messages)


class _FakeModel:
    """A `TokenModel` whose tokens are code points and, after them, the special strings."""

    def __init__(
        self,
        specials: tuple[str, ...],
        script: Script | None,
        calls: list[FakeCall],
        context_size: int,
        delay_s: float,
        can_rollback: bool,
    ) -> None:
        self.fingerprint = hashlib.sha256(repr(("characters", specials)).encode()).hexdigest()[:16]
        self.context_size = self.cache_tokens = context_size
        self.can_rollback = can_rollback
        self._specials = specials
        self._id_of = {text: _FIRST_SPECIAL + index for index, text in enumerate(specials)}
        self._split = re.compile(f"({'|'.join(map(re.escape, specials))})")
        self._script = script
        self._calls = calls
        self._delay_s = delay_s
        self._is_closed = False

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        if self._is_closed:
            raise BackendUnavailable("the backend is closed; open a new one")
        clean = text.encode("utf-8", "replace").decode("utf-8")
        if not is_control:
            return tuple(map(ord, clean))
        parts = self._split.split(clean)
        return tuple(
            chain.from_iterable(
                (self._id_of[part],) if part in self._id_of else map(ord, part) for part in parts
            )
        )

    def piece(self, token: int) -> bytes:
        if token >= _FIRST_SPECIAL:
            return self._specials[token - _FIRST_SPECIAL].encode()
        return chr(token).encode("utf-8")

    def is_end(self, token: int) -> bool:
        return token == self._id_of[END]

    def control_token(self, text: str) -> int | None:
        return self._id_of.get(text)

    def sampler(self, request: Request, stop_tokens: frozenset[int]) -> _ScriptSampler:
        prompt = "".join(segment.text for segment in request.segments)
        call = FakeCall(request, part_of(request), prompt)
        self._calls.append(call)
        line = self._line(call)
        written = written_so_far(request)
        if written and line.startswith(written):
            line = line.removeprefix(written)
        ending = END if line.endswith(END) or not request.stop else request.stop[0]
        line = line.removesuffix(END)
        return _ScriptSampler(
            self.tokenize(line, is_control=True),
            self.tokenize(ending, is_control=True),
            self._id_of[END],
        )

    def evaluate(self, parts: Sequence[Part], is_interrupted: Callable[[], bool]) -> Sequence[int]:
        if self._delay_s:
            time.sleep(self._delay_s)
        return [len(part.tokens) for part in parts]

    def trim(self, slot: int, length: int) -> bool:
        return self.can_rollback or length == 0

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        return

    def close(self) -> None:
        self._is_closed = True

    def _line(self, call: FakeCall) -> str:
        """Take the script's line for `call`, using up lists on the way."""
        script = self._script
        if script is None:
            return default_line(call.request)
        line: Line
        if isinstance(script, Mapping):
            closing = next((stop for stop in call.request.stop[:1] if stop in script), None)
            key = call.part if call.part in script else closing
            if key is None:
                return default_line(call.request)
            line = script[key]
        else:
            line = script
        while isinstance(line, list):
            if not line:
                raise BackendError(f"the fake's script has no line left for {call.part!r}")
            line = line.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line if isinstance(line, str) else line(call.request)


class _ScriptSampler:
    """Says a line, repeated while an ending is banned, then its ending."""

    def __init__(self, line: tuple[int, ...], ending: tuple[int, ...], end: int) -> None:
        self._line: Iterator[int] = iter(line)
        self._again = cycle(line or (ord("…"),))
        self._ending = chain(ending, cycle((end,)))
        self._has_ended = False

    def sample(self, part: int, is_end_banned: bool) -> int:
        if not self._has_ended:
            for token in self._line:
                return token
            if is_end_banned:
                return next(self._again)
            self._has_ended = True
        return next(self._ending)
