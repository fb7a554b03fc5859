"""Next-token cross-entropy from hidden states, without ever holding the logits of a whole batch.

On a CPU the `(tokens, vocab)` float32 logits and their gradient are the largest memory traffic of a small model's
step. Here they exist for one chunk of tokens at a time, small enough for the cache, and the gradient is formed in the
same pass. Idea: Liger Kernel's fused linear cross-entropy (Triton, GPU only), https://arxiv.org/abs/2410.10989; the
result equals `torch.nn.functional.cross_entropy` up to rounding (a test checks values and gradients).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

IGNORE = -100


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of token losses; saves its gradients on the way forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        compute = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], chunk):
            part, target = hidden[start : start + chunk], targets[start : start + chunk]
            kept = (target != IGNORE).unsqueeze(1)
            column = target.clamp(min=0).unsqueeze(1)
            logits = (part @ compute.T).float()
            normaliser = torch.logsumexp(logits, dim=-1, keepdim=True)
            total += ((normaliser - logits.gather(1, column)) * kept).sum()
            probabilities = logits.sub_(normaliser).exp_()
            probabilities.scatter_add_(1, column, torch.full_like(column, -1, dtype=torch.float32))
            gradient = probabilities.mul_(kept).to(hidden.dtype)
            grad_hidden[start : start + chunk] = gradient @ compute
            grad_weight += (gradient.T @ part).float()
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0].to(grad_hidden.dtype), grad_weight * grads[0], None, None


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = 512
) -> Tensor:
    """Return the summed cross-entropy of `targets` under the logits `hidden @ weight.T`.

    Args:
        hidden: `(tokens, width)`, float32 or bfloat16; logits are formed in this type and reduced in float32.
        weight: `(vocab, width)`, the output embedding.
        targets: `(tokens,)` int64; `-100` is left out.
        chunk: Tokens of which the logits exist at a time.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        # torch leaves `Function.apply` untyped.
        apply: Callable[..., Tensor] = _ChunkedCrossEntropy.apply
        return apply(hidden, weight, targets, chunk)


def next_token_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    dtype: torch.dtype,
    tokens: int | Tensor | None = None,
) -> Tensor:
    """Return the mean loss of predicting `labels` one step ahead.

    Args:
        hidden: `(batch, seq, width)` last hidden states.
        weight: `(vocab, width)` output embedding.
        labels: `(batch, seq)`, equal to the input ids where they count and `-100` elsewhere.
        dtype: The type in which logits are formed.
        tokens: Divisor; by default the number of counted labels.
    """
    targets = labels[:, 1:].reshape(-1)
    flat = hidden[:, :-1].reshape(-1, hidden.shape[-1]).to(dtype)
    total = chunked_cross_entropy(flat, weight, targets)
    return total / ((targets != IGNORE).sum().clamp(min=1) if tokens is None else tokens)
