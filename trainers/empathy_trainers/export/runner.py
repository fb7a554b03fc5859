"""llama.cpp as a calculator: logits of given ids, and greedy continuations.

The low-level calls are used, one sequence at a time, from an empty memory each time. For an f32
file the key/value cache is f32 and flash attention is off, so that the file alone is compared; for
the others both are llama.cpp's defaults, which is what users get.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from empathy_agent.backends.llama_cpp.library import load_library
from empathy_agent.backends.llama_cpp.loading import load_model
from empathy_agent.backends.llama_cpp.vocabulary import Vocabulary
from empathy_agent.errors import BackendError, ContextOverflow

FloatArray = npt.NDArray[np.float32]
_CHUNK: Final = 128  # tokens computed together; their logits are held at the same time
_FILE_TYPES: Final = {0: "f32", 1: "f16", 7: "q8_0"}
_F32_FILE, _F32_CACHE = 0, 0


class LlamaRunner:
    """A GGUF file with one sequence.

    Args:
        path: The file.
        context: Tokens of the longest sequence.
        threads: Threads of a computation.

    Raises:
        BackendUnavailable: llama-cpp-python is missing or the file does not load.
        ContextOverflow: The model was not made for `context` tokens.
    """

    def __init__(self, path: Path, *, context: int, threads: int) -> None:
        self._library = library = load_library()
        self._model = load_model(path, 0)
        trained = library.llama_model_n_ctx_train(self._model)
        if context > trained:
            library.llama_model_free(self._model)
            raise ContextOverflow(f"{context} tokens are asked for, the model takes {trained}")
        self.vocabulary = Vocabulary(self._model)
        file_type = library.llama_model_ftype(self._model)
        self.quantization = _FILE_TYPES.get(file_type, str(file_type))
        """Type of the file's matrices."""
        self.has_f32_cache = file_type == _F32_FILE
        """Whether keys and values are kept in single precision."""
        params = library.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = _CHUNK
        params.n_threads = params.n_threads_batch = threads
        if self.has_f32_cache:
            params.type_k = params.type_v = _F32_CACHE
            params.flash_attn_type = library.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = library.llama_init_from_model(self._model, params)
        if not self._context:
            library.llama_model_free(self._model)
            raise BackendError(f"llama.cpp cannot open a context of {context} tokens")
        self._batch = library.llama_batch_init(_CHUNK, 0, 1)

    def __enter__(self) -> LlamaRunner:
        """Return the runner itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the model."""
        self.vocabulary.close()
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def logits(self, ids: Sequence[int]) -> FloatArray:
        """Return the logits after every one of `ids`, shape `(len(ids), vocabulary)`."""
        self._forget()
        parts = [
            self._decode(ids[start : start + _CHUNK], start, every=True)
            for start in range(0, len(ids), _CHUNK)
        ]
        return np.concatenate(parts)

    def greedy(self, prompt: Sequence[int], count: int) -> tuple[list[int], FloatArray]:
        """Continue `prompt` by `count` tokens, past any end token.

        Returns:
            The tokens, and the logits each was chosen from, shape `(count, vocabulary)`.
        """
        self._forget()
        for start in range(0, len(prompt), _CHUNK):
            row = self._decode(prompt[start : start + _CHUNK], start, every=False)
        rows, tokens = [row], [int(row[0].argmax())]
        while len(tokens) < count:
            row = self._decode(tokens[-1:], len(prompt) + len(tokens) - 1, every=False)
            rows.append(row)
            tokens.append(int(row[0].argmax()))
        return tokens, np.concatenate(rows)

    def _forget(self) -> None:
        memory = self._library.llama_get_memory(self._context)
        self._library.llama_memory_clear(memory, True)

    def _decode(self, ids: Sequence[int], position: int, *, every: bool) -> FloatArray:
        batch, last = self._batch, len(ids) - 1
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = every or index == last
        code = self._library.llama_decode(self._context, batch)
        if code != 0:
            raise BackendError(f"llama_decode failed with code {code}")
        shown = range(len(ids)) if every else [last]
        size = (self.vocabulary.size,)
        get = self._library.llama_get_logits_ith
        return np.stack([np.ctypeslib.as_array(get(self._context, i), size).copy() for i in shown])
