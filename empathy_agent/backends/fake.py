"""A scripted model for tests and demonstrations: no weights, but the whole behaviour of a backend.

`FakeBackend()` answers with a small chain that quotes the post, in Chinese or English. A script says otherwise, as a
mapping from the part (`"L1"` to `"L4"`, `"answer"`, `"single_pass"`) or its closing tag to a line, as a list of
lines in order of the calls, or as a function of the request. A line is a text, an exception to raise, a function, or
a list of lines to use up. After its text the model "writes" the first stop string, like a model that was trained to.

Tokens are characters, tags and template marks are tokens of their own, and the cache is kept exactly as a real one:
usage counts, leases, deadlines and cancellation are those of the real backend, because the code is the same.

    backend = FakeBackend({"L3": "倾听。", "answer": BackendTimeout("scripted")})
    backend.complete(request)
    assert backend.calls[0].part == "L3"
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from empathy_agent.backends.assembly import Assembly
from empathy_agent.backends.base import Backend, Capabilities, Completion, Event, Message, Request, Sink
from empathy_agent.backends.chat_template import plain_template, render_segments
from empathy_agent.backends.fake_script import default_line, part_of, written_so_far
from empathy_agent.backends.slots import Slot, SlotPool
from empathy_agent.backends.worker import Job, Worker
from empathy_agent.chain import Usage
from empathy_agent.errors import BackendError, ContextOverflow
from empathy_agent.segments import ALL_TAGS, Segment

Line = str | BaseException | Callable[[Request], str] | list["Line"]
Script = Mapping[str, Line] | list[Line] | Callable[[Request], str]

END = "<|end|>"
"""The fake's end token; a line that ends with it ends with `finish="eos"`."""
_CHUNK = 128
_FIRST_SPECIAL = 0x110000  # one past the last code point
