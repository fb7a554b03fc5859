"""Draw a token from logits, per request and reproducibly.

The order is transformers': repeat penalty over the tokens this request generated, temperature,
top-k, top-p, one draw. Every request has its own generator, so the same seed and prompt give the
same text whatever runs beside it. numpy does it in well under the time of the smallest decode;
llama.cpp's sampler chains would copy the whole vocabulary into structs for each token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from empathy_agent.backends.quotes import QuoteGuide
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendError

Logits = NDArray[np.float32]
_NEAR = 12.0
"""How far below the likeliest token's logit the `top_k` are looked for first."""


class LogitSampler:
    """Samples the tokens of one request.

    Args:
        sampling: The settings.
        logits: Returns the logits of a part of the last evaluation, shape `(vocabulary,)`; changed
            in place.
        ending: The tokens that may be banned: end tokens and stop tokens.
        guide: Holds quotes to their source.
        piece: Returns the bytes of a token, for the guide.
    """

    def __init__(
        self,
        sampling: Sampling,
        logits: Callable[[int], Logits],
        ending: Collection[int],
        guide: QuoteGuide | None = None,
        piece: Callable[[int], bytes] | None = None,
    ) -> None:
        self._sampling = sampling
        self._logits = logits
        self._ending = np.array(sorted(ending), dtype=np.intp)
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))
        self._seen: dict[int, None] = {}
        self._guide, self._piece = guide, piece

    def sample(self, part: int, is_end_banned: bool) -> int:
        """Choose the next token from the logits of that part of the last evaluation."""
        logits = self._logits(part)
        if is_end_banned:
            logits[self._ending] = -np.inf
        is_quoting = self._guide is not None and self._hold(logits, self._guide)
        penalty = self._sampling.repeat_penalty
        # Who quotes repeats: a penalty would bend the quote towards rarer words.
        if not is_quoting and penalty != 1.0 and self._seen:
            seen = np.fromiter(self._seen, dtype=np.intp, count=len(self._seen))
            values = logits[seen]
            logits[seen] = np.where(values > 0, values / penalty, values * penalty)
        token = int(logits.argmax())
        if not isfinite(logits.item(token)):
            raise BackendError("the model computed no usable numbers; its file may be damaged")
        if self._sampling.temperature > 0:
            token = self._draw(logits)
        self._seen[token] = None
        if self._guide is not None and self._piece is not None:
            self._guide.push(self._piece(token))
        return token

    def _hold(self, logits: Logits, guide: QuoteGuide) -> bool:
        """Leave only what may follow inside a quote; return whether one is open."""
        allowed = guide.allowed()
        if allowed is None:
            logits[guide.forbidden] = -np.inf
            return False
        if allowed:  # a vocabulary that cannot spell the source goes on unguided
            kept = logits[allowed]
            logits[:] = -np.inf
            logits[allowed] = kept
        return True

    def _likeliest(self, logits: Logits) -> NDArray[np.intp]:
        """Return the `top_k` likeliest tokens, in no order."""
        count = self._sampling.top_k
        if not 0 < count < len(logits):
            return np.arange(len(logits))
        # Ordering a whole vocabulary costs as much as a small model's decode: most of it is far off.
        near = np.flatnonzero(logits >= logits.max() - _NEAR)
        if len(near) < count:
            near = np.arange(len(logits))
        return near[np.argpartition(logits[near], -count)[-count:]]

    def _draw(self, logits: Logits) -> int:
        settings = self._sampling
        candidates = self._likeliest(logits)
        scaled = logits[candidates].astype(np.float64) / settings.temperature
        order = np.lexsort((candidates, -scaled))  # likeliest first, ties by id
        candidates, scaled = candidates[order], scaled[order]
        weights = np.exp(scaled - scaled[0]).cumsum()
        # The smallest set whose mass reaches top_p, at least one token.
        kept = int(np.searchsorted(weights, settings.top_p * weights[-1])) + 1
        weights = weights[: min(kept, len(weights))]
        drawn = self._random.random() * weights[-1]
        return int(candidates[np.searchsorted(weights, drawn, side="right")])
