"""`CompletionsBackend`: an OpenAI-compatible `/v1/completions` as a backend.

Nothing is sent before the first use; then one probe finds out what the server is (`probe`). Where
it takes token ids and the tokenizer is known, segments are tokenised apart, as in training;
elsewhere the prompt is one text and `fit` escapes what others wrote. The layers of a turn send the
same beginning, so the server's prefix cache serves them, and with `affinity_header` a balancer can
lead them to the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from empathy_agent.backends.base import Backend
from empathy_agent.backends.chat_template import render_segments
from empathy_agent.backends.completions.endpoint import Endpoint
from empathy_agent.backends.completions.job_loop import JobLoop
from empathy_agent.backends.completions.options import Options
from empathy_agent.backends.completions.probe import Server
from empathy_agent.backends.completions.templates import check_name
from empathy_agent.backends.requests import Capabilities, Message, Request, Sink
from empathy_agent.backends.worker import MAX_WAITING
from empathy_agent.errors import EmpathyAgentError
from empathy_agent.segments import Segment

_LEFT_ALONE_S = 5.0
_NOTHING = Capabilities(
    ids=False,
    exact_borders=False,
    prefix_cache=False,
    rollback=False,
    chat_template="plain",
    control_tags=False,
    parallel_sequences=1,
    min_tokens=False,
    batch_invariant=False,
)


class CompletionsBackend(Backend):
    """A model behind vLLM, SGLang, llama-server, LM Studio, Ollama, llama_cpp.server or alike.

    Args:
        base_url: The API's address, such as `"http://127.0.0.1:8000/v1"`.
        model: The model's name there; None takes it where the server offers only one.
        api_key: Sent as a bearer token; None takes `OPENAI_API_KEY`, but only for OpenAI's host.
        tokenizer: The served model's `tokenizer.json`, or the folder that holds it.
        chat_template: `"auto"` takes the tokenizer folder's, then the server's, then the plain
            one; or `"chatml"`, `"llama3"`, `"gemma"`, `"mistral"`, `"plain"`, or a `.jinja` file.
        context_size: Tokens that prompt and completion may have together; None asks the server,
            and takes 4096 where it does not tell (2048 for llama_cpp.server, its default).
        max_parallel: Requests that are sent at once.
        max_waiting: Requests that may wait beside them before more are refused.
        connect_timeout_s: Seconds to wait for a connection.
        read_timeout_s: Seconds of silence after which the server is given up.
        retries: Attempts after the first one, where another may succeed.
        back_off_s: Seconds before the second attempt, doubled each time, with jitter.
        affinity_header: A header to send `Request.session` in, a random name for one chain.
        headers: More headers, sent with every call.
        name: What replies call the model; None takes the server's name for it.

    Raises:
        ConfigError: A setting is unusable.
        BackendUnavailable: httpx is missing.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        chat_template: str = "auto",
        context_size: int | None = None,
        max_parallel: int = 16,
        max_waiting: int = MAX_WAITING,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
        retries: int = 3,
        back_off_s: float = 0.5,
        affinity_header: str | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        check_name(chat_template)
        self._options = Options(
            base_url=base_url,
            model=model,
            api_key=api_key,
            tokenizer=None if tokenizer is None else Path(tokenizer),
            chat_template=chat_template,
            context_size=context_size,
            max_parallel=max_parallel,
            max_waiting=max_waiting,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            retries=retries,
            back_off_s=back_off_s,
            affinity_header=affinity_header,
            headers=dict(headers or {}),
            name=name,
        )
        self._unreached_until = 0.0
        self._endpoint = endpoint = Endpoint(self._options)
        self._jobs = JobLoop(
            "empathy-agent CompletionsBackend",
            endpoint.complete,
            endpoint.close,
            max_parallel=max_parallel,
            max_waiting=max_waiting,
        )
        self._release_with(self._jobs.close)

    @property
    def _server(self) -> Server:
        """What the server is; the first use asks it.

        Raises:
            BackendUnavailable: It cannot be reached, or is not usable.
        """
        return self._endpoint.known or self._jobs.call(self._endpoint.server)

    def _reached(self) -> Server | None:
        """Return what the server is, or None; after a failure it is left alone for a moment."""
        if (known := self._endpoint.known) is not None:
            return known
        if time.monotonic() < self._unreached_until:
            return None
        try:
            return self._server
        except EmpathyAgentError:
            self._unreached_until = time.monotonic() + _LEFT_ALONE_S
            return None

    @property
    def name(self) -> str:
        """The model's name, of a path only the file's; the server's while it cannot be reached."""
        if self._options.name:
            return self._options.name
        server = self._reached()
        model = server.model if server else self._options.model or self._options.host
        return Path(model).stem if model.endswith(".gguf") else model

    @property
    def flavour(self) -> str:
        """What kind of server it is: `"vllm"`, `"llama-server"` and so on, or `"generic"`."""
        return self._server.dialect.flavour

    @property
    def fingerprint(self) -> str:
        """A hash of the address, the model and the tokenizer file."""
        return self._endpoint.fingerprint(self._server)

    @property
    def context_size(self) -> int:
        """How many tokens prompt and completion may have together."""
        return self._server.context_size

    @property
    def capabilities(self) -> Capabilities:
        """What this server can promise; a cache counts only where its hits are reported.

        Never raises: while the server cannot be reached nothing is promised, so that a reply that
        needs no model is given all the same.
        """
        server = self._reached()
        if server is None:
            return _NOTHING
        return Capabilities(
            ids=server.takes_ids,
            exact_borders=server.takes_ids,
            prefix_cache=server.dialect.reports_cache,
            rollback=server.dialect.reports_cache,
            chat_template="model" if server.has_template else "plain",
            control_tags=server.takes_ids and server.tokens.traits.has_control_tags,
            parallel_sequences=1 if server.dialect.is_exclusive else self._options.max_parallel,
            min_tokens=server.dialect.has_min_tokens,
            batch_invariant=False,
        )

    @property
    def special_strings(self) -> tuple[str, ...]:
        """The special strings of the vocabulary and those of well-known models."""
        return self._server.specials

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Apply the chat template, with the token that begins every prompt where we write it."""
        server = self._server
        segments = render_segments(server.apply, messages)
        if server.bos and not segments[0].text.startswith(server.bos):
            return (Segment(server.bos, control=True), *segments)
        return segments

    def count_tokens(self, segments: Sequence[Segment]) -> int:
        """Return the number of tokens of `segments`; a careful guess where no tokenizer is known."""
        return self._jobs.call(lambda: self._endpoint.count(segments))

    def pin(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Return `segments` with their ids, where the server takes ids."""
        return self._jobs.call(lambda: self._endpoint.pin(segments))

    def forget(self) -> None:
        """Drop counts and ids that were kept; the server's own cache is not ours to empty."""
        if not self.closed:
            self._jobs.call(self._endpoint.forget)

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue `request` for the backend's thread."""
        self._jobs.submit(request, sink)
