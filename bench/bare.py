"""The plain loop that our backend is held against: llama-cpp-python's own calls and nothing else.

One sequence, greedy, llama.cpp's sampler, no text, no stop strings, no queue: the least that any
program over the same library must do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from empathy_agent.backends.llama_cpp.library import load_library

library = load_library()


class BareLoop:
    """A model with a context, driven by hand.

    Args:
        path: The GGUF file.
        n_ctx: Tokens of the context.
        n_threads: Threads of a computation.
    """

    def __init__(self, path: Path, n_ctx: int, n_threads: int) -> None:
        self._model = library.llama_model_load_from_file(
            str(path).encode(), library.llama_model_default_params()
        )
        params = library.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = 128
        params.n_threads = params.n_threads_batch = n_threads
        self._context = library.llama_init_from_model(self._model, params)
        chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
        library.llama_sampler_chain_add(chain, library.llama_sampler_init_greedy())
        self._sampler = chain

    def generate(self, prompt: tuple[int, ...], count: int) -> list[int]:
        """Return `count` tokens after `prompt`, from an empty cache."""
        library.llama_memory_clear(library.llama_get_memory(self._context), False)
        for start in range(0, len(prompt), 128):
            self._decode(prompt[start : start + 128])
        tokens: list[int] = []
        while True:
            token = library.llama_sampler_sample(self._sampler, self._context, -1)
            tokens.append(token)
            if len(tokens) == count:
                return tokens
            self._decode((token,))

    def gaps(self, prompt: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        """Return how far the two largest logits are apart before each of `tokens`."""
        library.llama_memory_clear(library.llama_get_memory(self._context), False)
        for start in range(0, len(prompt), 128):
            self._decode(prompt[start : start + 128])
        size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self._model))
        gaps = []
        for token in tokens:
            row = library.llama_get_logits_ith(self._context, -1)
            second, first = np.partition(np.ctypeslib.as_array(row, (size,)), size - 2)[-2:]
            gaps.append(float(first - second))
            self._decode((token,))
        return gaps

    def close(self) -> None:
        """Free everything."""
        library.llama_sampler_free(self._sampler)
        library.llama_free(self._context)
        library.llama_model_free(self._model)

    def _decode(self, tokens: tuple[int, ...]) -> None:
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        batch = library.llama_batch_get_one(ids, len(tokens))
        if library.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama_decode failed")
