"""The sampler: greedy, reproducible, and each setting does what it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from empathy_agent.backends.sampler import LogitSampler
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendError

_OFF: dict[str, float] = {"top_p": 1.0, "top_k": 0, "repeat_penalty": 1.0}
_LOGITS = np.array([0.0, 3.0, 2.0, 1.0, -1.0, 2.5], dtype=np.float32)


def _sampler(
    ending: tuple[int, ...] = (), logits: NDArray[np.float32] = _LOGITS, **settings: float
) -> LogitSampler:
    sampling = Sampling.model_validate({**_OFF, **settings})
    return LogitSampler(sampling, lambda _: logits.copy(), ending)


def _draw(count: int = 300, **settings: float) -> list[int]:
    sampling = Sampling.model_validate({**_OFF, "temperature": 1.0, "seed": 1, **settings})
    sampler = LogitSampler(sampling, lambda _: _LOGITS.copy(), ())
    return [sampler.sample(0, False) for _ in range(count)]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert _sampler(temperature=0.0).sample(0, False) == 1


def test_a_seed_reproduces_and_another_differs() -> None:
    assert _draw(seed=3) == _draw(seed=3)
    assert _draw(seed=3) != _draw(seed=4)


def test_without_a_seed_each_request_draws_anew() -> None:
    sampling = Sampling.model_validate({**_OFF, "temperature": 2.0})
    first, second = (LogitSampler(sampling, lambda _: _LOGITS.copy(), ()) for _ in range(2))
    assert [first.sample(0, False) for _ in range(60)] != [
        second.sample(0, False) for _ in range(60)
    ]


def test_draws_follow_the_softmax() -> None:
    counts = Counter(_draw(20_000))
    expected = np.exp(_LOGITS) / np.exp(_LOGITS).sum()
    for token, share in enumerate(expected):
        assert counts[token] / 20_000 == pytest.approx(share, abs=0.02)


def test_top_k_keeps_the_likeliest() -> None:
    assert set(_draw(top_k=2)) == {1, 5}
    assert set(_draw(top_k=1)) == {1}
    assert len(set(_draw(2000, top_k=99))) == 6


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    # Shares: 1: .46, 5: .28, 2: .17, 3: .06, 0: .02, 4: .01
    assert set(_draw(top_p=0.40)) == {1}
    assert set(_draw(top_p=0.70)) == {1, 5}
    assert set(_draw(top_p=0.80)) == {1, 5, 2}


def test_equal_logits_are_ordered_by_id() -> None:
    sampler = _sampler(logits=np.zeros(9, dtype=np.float32), temperature=0.5, seed=0, top_p=0.01)
    assert [sampler.sample(0, False) for _ in range(5)] == [0] * 5


def test_the_penalty_weighs_on_what_was_generated() -> None:
    sampler = _sampler(temperature=0.0, repeat_penalty=2.0)
    assert [sampler.sample(0, False) for _ in range(4)] == [1, 5, 2, 1]


def test_ending_tokens_are_banned_on_demand() -> None:
    sampler = _sampler(ending=(1, 5), temperature=0.0)
    assert sampler.sample(0, True) == 2
    assert sampler.sample(0, False) == 1


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_numbers_that_are_none_are_a_clear_error(value: float) -> None:
    with pytest.raises(BackendError, match="no usable numbers"):
        _sampler(logits=np.full(4, value, dtype=np.float32), temperature=0.0).sample(0, False)
