"""How the servers differ: which fields they take beyond OpenAI's, and what they can promise.

Sources: vLLM `entrypoints/openai/completion/protocol.py` and `serve/tokenize/protocol.py`, SGLang
`srt/entrypoints/openai/protocol.py`, llama.cpp `tools/server/README.md`, llama-cpp-python
`llama_cpp/server/types.py`, Ollama `openai/openai.go` and `docs/api.md`. A server that is none of
these gets OpenAI's own fields.

Ollama's `/v1/completions` puts the prompt into the model's chat template, so a continuation is not
possible there; its own `/api/generate` with `raw` is asked instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from empathy_agent.backends.requests import Request

Flavour = Literal[
    "vllm", "sglang", "llama-server", "llama_cpp.server", "lmstudio", "ollama", "generic"
]
Prompt = str | tuple[int, ...]

_OPENAI_STOPS = 4
"""Source: https://platform.openai.com/docs/api-reference/completions/create (`stop`)."""


@dataclass(frozen=True)
class Dialect:
    """What one kind of server understands."""

    flavour: Flavour
    top_k: str | None = None
    """The name of the field, where there is one; so for the next."""
    repeat_penalty: str | None = None
    top_k_off: int = 0
    """The value of `top_k` that switches it off."""
    fields: Mapping[str, object] = field(default_factory=dict)
    """Sent with every request."""
    takes_ids: bool = False
    takes_all_stops: bool = True
    has_min_tokens: bool = False
    """`min_tokens` also bans the stop tokens that are named by id."""
    returns_ids: bool = False
    preserves: bool = False
    """Control tokens are shown only where they are named in `preserved_tokens`."""
    reports_cache: bool = False
    is_exclusive: bool = False
    """A call ends whatever else runs, so calls are made one after the other."""
    is_unknown: bool = False
    """A refusal that names a field is answered by leaving out all but the oldest fields."""
    default_context: int = 4096

    def body(
        self,
        model: str,
        prompt: Prompt,
        request: Request,
        *,
        max_tokens: int,
        min_tokens: int,
        stop_ids: Sequence[int],
        wants_ids: bool,
        only_standard: bool,
    ) -> dict[str, Any]:
        """Return the JSON of a streamed completion."""
        if self.flavour == "ollama":
            return self._ollama_body(model, prompt, request, max_tokens)
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": True,
        }
        stops = request.stop if self.takes_all_stops else request.stop[:_OPENAI_STOPS]
        if stops:
            body["stop"] = list(stops)
        if only_standard:
            return body
        body["stream_options"] = {"include_usage": True}
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        body.update(self.fields)
        if self.top_k:
            body[self.top_k] = sampling.top_k or self.top_k_off
        if self.repeat_penalty:
            body[self.repeat_penalty] = sampling.repeat_penalty
        if self.has_min_tokens:
            body |= {"min_tokens": min_tokens} if min_tokens else {}
            body |= {"stop_token_ids": list(stop_ids)} if stop_ids else {}
        if self.returns_ids and wants_ids:
            body["return_token_ids"] = True
        if self.preserves and request.stop:
            body["preserved_tokens"] = list(request.stop)
        return body

    def _ollama_body(
        self, model: str, prompt: Prompt, request: Request, max_tokens: int
    ) -> dict[str, Any]:
        sampling = request.sampling
        options: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "repeat_penalty": sampling.repeat_penalty,
            "min_p": 0.0,
            "num_predict": max_tokens,
            "stop": list(request.stop),
        }
        if sampling.seed is not None:
            options["seed"] = sampling.seed
        return {"model": model, "prompt": prompt, "raw": True, "stream": True, "options": options}

    def url(self, url: str, root: str) -> str:
        """Return where completions are asked for."""
        return f"{root}/api/generate" if self.flavour == "ollama" else f"{url}/completions"


DIALECTS: Mapping[Flavour, Dialect] = {
    one.flavour: one
    for one in (
        Dialect(
            "vllm",
            top_k="top_k",
            repeat_penalty="repetition_penalty",
            top_k_off=-1,
            # Tags that are special tokens must be seen: they end a part.
            fields={"skip_special_tokens": False, "spaces_between_special_tokens": False},
            takes_ids=True,
            has_min_tokens=True,
            returns_ids=True,
            reports_cache=True,
        ),
        Dialect(
            "sglang",
            top_k="top_k",
            repeat_penalty="repetition_penalty",
            top_k_off=-1,
            fields={"skip_special_tokens": False},
            takes_ids=True,
            has_min_tokens=True,
            returns_ids=True,
            reports_cache=True,
        ),
        Dialect(
            "llama-server",
            top_k="top_k",
            repeat_penalty="repeat_penalty",
            fields={"min_p": 0.0, "cache_prompt": True},
            takes_ids=True,
            preserves=True,
            reports_cache=True,
        ),
        Dialect(
            "llama_cpp.server",
            top_k="top_k",
            repeat_penalty="repeat_penalty",
            fields={"min_p": 0.0},
            is_exclusive=True,
            default_context=2048,  # Source: `n_ctx` in llama_cpp/server/settings.py
        ),
        Dialect("lmstudio", top_k="top_k", repeat_penalty="repeat_penalty"),
        Dialect("ollama"),
        Dialect("generic", takes_all_stops=False, is_unknown=True),
    )
}
