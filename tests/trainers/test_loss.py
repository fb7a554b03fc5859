"""The chunked loss equals torch's, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empathy_trainers.loss import IGNORE, chunked_cross_entropy, next_token_loss


def tensors(tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 12, generator=generator).requires_grad_()
    weight = torch.randn(31, 12, generator=generator).requires_grad_()
    targets = torch.randint(0, 31, (tokens,), generator=generator)
    targets[::5] = IGNORE
    return hidden, weight, targets


@given(st.integers(1, 70), st.integers(1, 80), st.integers(0, 5))
def test_values_and_gradients_equal_cross_entropy(tokens: int, chunk: int, seed: int) -> None:
    hidden, weight, targets = tensors(tokens, seed)
    ours = chunked_cross_entropy(hidden, weight, targets, chunk)
    grads = torch.autograd.grad(ours * 3, (hidden, weight))
    theirs = torch.nn.functional.cross_entropy(
        hidden @ weight.T, targets, ignore_index=IGNORE, reduction="sum"
    )
    expected = torch.autograd.grad(theirs * 3, (hidden, weight))
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_mean_is_over_counted_labels_one_step_ahead() -> None:
    hidden, weight, targets = tensors(24)
    labels = targets.reshape(2, 12)
    logits = hidden.reshape(2, 12, 12) @ weight.T
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, 31), labels[:, 1:].reshape(-1), ignore_index=IGNORE
    )
    found = next_token_loss(hidden.reshape(2, 12, 12), weight, labels, dtype=torch.float32)
    torch.testing.assert_close(found, expected)
    doubled = next_token_loss(
        hidden.reshape(2, 12, 12), weight, labels, dtype=torch.float32, tokens=1
    )
    counted = int((labels[:, 1:] != IGNORE).sum())
    torch.testing.assert_close(doubled, expected * counted)


def test_bfloat16_stays_near_float32() -> None:
    hidden, weight, targets = tensors(64)
    exact = chunked_cross_entropy(hidden, weight, targets)
    rough = chunked_cross_entropy(hidden.to(torch.bfloat16), weight, targets)
    assert float(rough.detach()) == pytest.approx(float(exact.detach()), rel=0.02)


def test_a_batch_without_counted_labels_has_loss_zero() -> None:
    hidden, weight, _ = tensors(6)
    labels = torch.full((1, 6), IGNORE)
    loss = next_token_loss(hidden.unsqueeze(0), weight, labels, dtype=torch.float32)
    assert float(loss.detach()) == 0.0
