"""A GGUF model with its context and memory: the `TokenModel` behind `LlamaCppBackend`.

Everything but tokenising is called from the worker's thread alone. Several sequences share one
unified memory, so a prefix is shared between them for nothing. One `llama_decode` computes one
batch of all requests. llama.cpp's kernels round differently for other batch shapes, so where two
tokens are almost equally likely a text may depend on who else is served; `batching=False` of the
backend computes each request by itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from empathy_agent.backends.generation import CHUNK_TOKENS, Part
from empathy_agent.backends.llama_cpp.library import load_library, take_errors
from empathy_agent.backends.llama_cpp.loading import load_model
from empathy_agent.backends.llama_cpp.vocabulary import Vocabulary
from empathy_agent.backends.quotes import QuoteGuide
from empathy_agent.backends.requests import Request
from empathy_agent.backends.sampler import Logits, LogitSampler
from empathy_agent.errors import BackendError, BackendUnavailable

_MAX_DEFAULT_CONTEXT = 8192  # tokens
CacheType = Literal["f32", "f16", "q8_0"]
CACHE_BYTES: Mapping[CacheType, float] = {"f32": 4, "f16": 2, "q8_0": 34 / 32}
"""Bytes that each type takes a value; see `ggml_type` in ggml.h."""
_GGML_TYPE: Mapping[CacheType, int] = {"f32": 0, "f16": 1, "q8_0": 8}
_FLASH_ATTENTION_OFF = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED
_CACHE_BYTES = 2**30
"""What the memory takes at most unless told, and unless one full context takes more."""
_ABORTABLE_TOKENS = 16
"""Shorter evaluations are over before anybody could cancel them; the callback costs more."""
_ABORTED = 2  # return value of llama_decode


class LlamaModel:
    """One loaded model; see `TokenModel` for the methods.

    Args:
        path: The GGUF file.
        context_size: Tokens of one request; None takes the model's own, at most 8192.
        parallel_sequences: How many prefixes are kept side by side.
        threads: Threads of a computation.
        n_gpu_layers: Layers to put on a GPU; None leaves it to the library.
        cache_type: How keys and values are kept.
        cache_tokens: Tokens that all sequences hold together; None for a full context each, as far
            as they fit 1 GiB.

    Raises:
        BackendUnavailable: The model or its context does not load; the message says why.
    """

    def __init__(
        self,
        path: Path,
        *,
        context_size: int | None,
        parallel_sequences: int,
        threads: int,
        n_gpu_layers: int | None,
        cache_type: CacheType,
        cache_tokens: int | None,
    ) -> None:
        self._library = library = load_library()
        self._model = load_model(path, n_gpu_layers)
        trained = library.llama_model_n_ctx_train(self._model)
        self.context_size = context_size or min(trained, _MAX_DEFAULT_CONTEXT)
        self._cache_type = cache_type
        self.vocabulary = Vocabulary(self._model)
        self.fingerprint = self.vocabulary.fingerprint
        self.token_bytes = self._token_bytes()
        self.cache_tokens = max(
            cache_tokens or self._default_cache(parallel_sequences), self.context_size
        )
        self._context = self._open_context(parallel_sequences, threads)
        self._memory = library.llama_get_memory(self._context)
        self.can_rollback = not (
            library.llama_model_is_recurrent(self._model)
            or library.llama_model_is_hybrid(self._model)
        )
        self._batch = library.llama_batch_init(CHUNK_TOKENS, 0, 1)
        # ctypes makes a new object at each access of a field: these are the ones used per token.
        self._tokens, self._positions = self._batch.token, self._batch.pos
        self._wants_logits = self._batch.logits
        self._sequences = [self._batch.seq_id[index] for index in range(CHUNK_TOKENS)]
        for index in range(CHUNK_TOKENS):
            self._batch.n_seq_id[index] = 1
            self._wants_logits[index] = False
        self._last_of_part: list[int] = []
        self._rows: dict[int, Logits] = {}
        self._is_interrupted: Callable[[], bool] = lambda: False
        # Kept: llama.cpp holds only the pointers.
        self._abort = library.ggml_abort_callback(lambda _data: self._is_interrupted())
        self._never = library.ggml_abort_callback(0)
        self._can_abort = False

    def _default_cache(self, parallel_sequences: int) -> int:
        wanted = self.context_size * parallel_sequences
        return max(self.context_size, min(wanted, _CACHE_BYTES // self.token_bytes))

    def _token_bytes(self) -> int:
        """Return the bytes that the cache takes for one token."""
        library, model = self._library, self._model
        kind = self.vocabulary.metadata("general.architecture")
        usual = library.llama_model_n_embd(model) // library.llama_model_n_head(model)
        sizes = (
            int(self.vocabulary.metadata(f"{kind}.attention.{name}_length") or usual)
            for name in ("key", "value")
        )
        heads = library.llama_model_n_layer(model) * library.llama_model_n_head_kv(model)
        return max(int(CACHE_BYTES[self._cache_type] * heads * sum(sizes)), 1)

    def _open_context(self, parallel_sequences: int, threads: int) -> object:
        params = self._library.llama_context_default_params()
        params.n_ctx = self.cache_tokens
        params.n_batch = params.n_ubatch = CHUNK_TOKENS
        params.n_seq_max = parallel_sequences
        params.n_outputs_max = parallel_sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.type_k = params.type_v = _GGML_TYPE[self._cache_type]
        if self._cache_type == "f32":  # flash attention computes with half precision in between
            params.flash_attn_type = _FLASH_ATTENTION_OFF
        params.no_perf = True
        context = self._library.llama_init_from_model(self._model, params)
        if not context:
            take_errors()
            self._library.llama_model_free(self._model)
            raise BackendUnavailable(
                f"llama.cpp cannot open a context of {self.cache_tokens} tokens, most likely for "
                "lack of memory; set a smaller n_ctx or cache_tokens"
            )
        return context

    @property
    def chat_template(self) -> str | None:
        """The chat template of the file, if it has one."""
        source = self._library.llama_model_chat_template(self._model, None)
        return source.decode("utf-8", "replace") if source else None

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        """Return the ids of one segment."""
        return self.vocabulary.tokenize(text, is_control=is_control)

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""
        return self.vocabulary.piece(token)

    def is_end(self, token: int) -> bool:
        """Return whether the model ends its turn with this token."""
        return token in self.vocabulary.end_tokens

    def control_token(self, text: str) -> int | None:
        """Return the one CONTROL token that spells `text`."""
        return self.vocabulary.control_token(text)

    def sampler(self, request: Request, stop_tokens: frozenset[int]) -> LogitSampler:
        """Return the sampler of a request."""
        ending = self.vocabulary.end_tokens | stop_tokens
        guide = None
        if request.quotes is not None:
            guide = QuoteGuide(request.quotes, self.vocabulary.piece_index())
        return LogitSampler(request.sampling, self._logits, ending, guide, self.vocabulary.piece)

    def evaluate(self, parts: Sequence[Part], is_interrupted: Callable[[], bool]) -> Sequence[int]:
        """Compute all parts in one decode, with logits for the last token of the sampled ones."""
        batch, count = self._batch, 0
        self._last_of_part.clear()
        for part in parts:
            for offset, token in enumerate(part.tokens):
                index = count + offset
                self._tokens[index] = token
                self._positions[index] = part.position + offset
                self._sequences[index][0] = part.slot
            count += len(part.tokens)
            self._wants_logits[count - 1] = part.is_sampled
            self._last_of_part.append(count - 1)
        batch.n_tokens = count
        self._allow_abort(is_interrupted if count >= _ABORTABLE_TOKENS else None)
        code = self._library.llama_decode(self._context, batch)
        for index in self._last_of_part:
            self._wants_logits[index] = False
        if code == 0:
            return [len(part.tokens) for part in parts]
        if code == _ABORTED:  # the batch is one micro-batch, of which llama.cpp keeps nothing
            reached = self._library.llama_memory_seq_pos_max
            return [
                max(int(reached(self._memory, part.slot)) + 1 - part.position, 0) for part in parts
            ]
        take_errors()
        raise BackendError(f"llama.cpp failed to compute {count} tokens (code {code})")

    def trim(self, slot: int, length: int) -> bool:
        """Keep the first `length` tokens of a sequence."""
        return bool(self._library.llama_memory_seq_rm(self._memory, slot, length, -1))

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share a stretch of one sequence with another."""
        self._library.llama_memory_seq_cp(self._memory, source, target, start, end)

    def close(self) -> None:
        """Free the context and the model."""
        self.vocabulary.close()
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def _allow_abort(self, is_interrupted: Callable[[], bool] | None) -> None:
        if is_interrupted is not None:
            self._is_interrupted = is_interrupted
        if self._can_abort != (is_interrupted is not None):
            self._can_abort = not self._can_abort
            callback = self._abort if self._can_abort else self._never
            self._library.llama_set_abort_callback(self._context, callback, None)

    def _logits(self, part: int) -> Logits:
        pointer = self._library.llama_get_logits_ith(self._context, self._last_of_part[part])
        address = ctypes.addressof(pointer.contents)
        row = self._rows.get(address)
        if row is None:  # llama.cpp's buffer rarely moves
            if len(self._rows) >= CHUNK_TOKENS:
                self._rows.clear()
            data = (ctypes.c_float * self.vocabulary.size).from_address(address)
            row = self._rows[address] = np.frombuffer(memoryview(data), np.float32)
        return row
