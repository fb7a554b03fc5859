"""A transformers model with its cache: the `TokenModel` behind `TransformersBackend`.

Everything but tokenising is called from the worker's thread alone. In each batch all slots that
add one token go through the network together, and every stretch of prompt by itself, so nothing is
computed for padding. PyTorch rounds differently for other shapes, so where two tokens are almost
equally likely a text may depend on who else is served; `batching=False` of the backend computes
each request by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from empathy_agent.backends.generation import Part
from empathy_agent.backends.quotes import QuoteGuide
from empathy_agent.backends.requests import Request
from empathy_agent.backends.sampler import Logits, LogitSampler
from empathy_agent.backends.transformers.cache import CellCache
from empathy_agent.backends.transformers.loading import Loaded
from empathy_agent.backends.transformers.vocabulary import Vocabulary
from empathy_agent.errors import BackendError, BackendUnavailable, ConfigError

_MAX_DEFAULT_CONTEXT = 8192  # tokens
_CACHE_BYTES = 256 * 2**20
"""What the cache may take at most, unless one full context takes more."""


class TransformersModel:
    """One loaded model; see `TokenModel` for the methods.

    Args:
        loaded: The model and its tokenizer.
        context_size: Tokens of one request; None takes the model's own, at most 8192.
        parallel_sequences: How many prefixes are kept side by side.

    Raises:
        BackendUnavailable: The model does not run, or not token by token.
        ConfigError: The context is longer than the model's.
    """

    can_rollback = True

    def __init__(
        self, loaded: Loaded, *, context_size: int | None, parallel_sequences: int
    ) -> None:
        if context_size is not None and context_size > loaded.context:
            raise ConfigError(
                f"'n_ctx' is {context_size!r}, but the model reads at most {loaded.context} tokens"
            )
        self.context_size = context_size or min(loaded.context, _MAX_DEFAULT_CONTEXT)
        self._network = loaded.network
        embedding: torch.Tensor = loaded.network.get_input_embeddings().weight
        # Offloaded weights are on "meta"; the library's hooks then move the inputs themselves.
        self._device = torch.device("cpu") if embedding.is_meta else embedding.device
        self.vocabulary = Vocabulary(loaded.tokenizer, len(embedding))
        self.fingerprint = self.vocabulary.fingerprint
        self._ends = frozenset(one for one in loaded.ends if one < self.vocabulary.size)
        base = getattr(loaded.network, "get_base_model", lambda: loaded.network)()
        self._takes = inspect.signature(base.forward).parameters.keys()
        self._cache = CellCache(loaded.has_store, parallel_sequences, self.context_size)
        self._rows: dict[int, Logits] = {}
        self._check()
        token_bytes = self._cache.token_bytes
        wanted = self.context_size * parallel_sequences
        self.cache_tokens = max(self.context_size, min(wanted, _CACHE_BYTES // token_bytes))

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        """Return the ids of one segment."""
        return self.vocabulary.tokenize(text, is_control=is_control)

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token."""
        return self.vocabulary.piece(token)

    def is_end(self, token: int) -> bool:
        """Return whether the model ends its turn with this token."""
        return token in self._ends

    def control_token(self, text: str) -> int | None:
        """Return the one special token that spells `text`."""
        return self.vocabulary.control_token(text)

    def sampler(self, request: Request, stop_tokens: frozenset[int]) -> LogitSampler:
        """Return the sampler of a request."""
        guide = None
        if request.quotes is not None:
            guide = QuoteGuide(request.quotes, self.vocabulary.piece_index())
        ending = self._ends | stop_tokens
        return LogitSampler(
            request.sampling, self._rows.__getitem__, ending, guide, self.vocabulary.piece
        )

    def evaluate(self, parts: Sequence[Part], is_interrupted: Callable[[], bool]) -> Sequence[int]:
        """Compute the parts of one token together, then each longer one by itself."""
        self._rows.clear()
        single = [index for index, part in enumerate(parts) if len(part.tokens) == 1]
        longer = [index for index, part in enumerate(parts) if len(part.tokens) > 1]
        counts = [0] * len(parts)
        if single:
            self._forward(parts, single)
        for index in single:
            counts[index] = 1
        for index in longer:
            if is_interrupted():
                break
            self._forward(parts, [index])
            counts[index] = len(parts[index].tokens)
        return counts

    def trim(self, slot: int, length: int) -> bool:
        """Keep the first `length` tokens of a slot."""
        self._cache.cells.trim(slot, length)
        return True

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share a stretch of one slot with another."""
        self._cache.cells.copy(source, target, start, end)

    def close(self) -> None:
        """Free the model."""
        self.vocabulary.close()
        self._rows.clear()
        del self._network, self._cache
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()

    def _forward(self, parts: Sequence[Part], group: Sequence[int]) -> None:
        """Compute parts of equal length in one pass and keep the logits of the sampled ones."""
        tokens = np.array([parts[index].tokens for index in group], dtype=np.int64)
        if tokens.min() < 0 or tokens.max() >= self.vocabulary.rows:
            raise BackendError("a token of the request is none of this model's")
        starts = np.array([[parts[index].position] for index in group], dtype=np.int64)
        slots = [parts[index].slot for index in group]
        length = tokens.shape[1]
        options: dict[str, Any] = {"input_ids": self._tensor(tokens), "use_cache": True}
        if "position_ids" in self._takes:
            options["position_ids"] = self._tensor(starts + np.arange(length))
        if "logits_to_keep" in self._takes:
            options["logits_to_keep"] = 1
        with torch.inference_mode(), self._cache.open_step(slots, length) as step:
            if step.mask is not None:
                options["attention_mask"] = step.mask.to(self._device)
            logits = self._network(past_key_values=self._cache, **options).logits
            rows = logits[:, -1, : self.vocabulary.size].float().cpu().numpy()
        for index, row in zip(group, rows, strict=True):
            if parts[index].is_sampled:
                self._rows[index] = row

    def _tensor(self, values: np.ndarray[Any, np.dtype[np.int64]]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

    def _check(self) -> None:
        """Run the network once: whether it does, and keeps its cache in our hands."""
        problem = None
        try:
            for position in (0, 2):
                tokens = [0] * (2 - position // 2)
                self.evaluate([Part(0, tokens, position, is_sampled=True)], lambda: False)
        except Exception as error:
            problem = type(error).__name__
        if problem is not None or not self._cache.is_whole:
            raise BackendUnavailable(
                "the model does not run token by token here"
                + (f" ({problem})" if problem else "")
                + "; try another device_map, dtype or attention, or use its GGUF with llama.cpp"
            )
        self.trim(0, 0)
