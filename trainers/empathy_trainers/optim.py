"""Muon for the hidden matrices, AdamW for embeddings and norms, behind one optimizer interface.

torch ships both; the trainer wants one. Muon's step is scaled to AdamW's update size (`match_rms_adamw`), so that one
learning rate and one schedule serve both parts.

Source: Muon, https://kellerjordan.github.io/posts/muon/ ; scaling, https://arxiv.org/abs/2502.16982
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class MuonWithAdamW(torch.optim.Optimizer):
    """Run `torch.optim.Muon` on 2-D weights outside the embeddings and `torch.optim.AdamW` on the rest."""

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        for parameter in model.parameters():
            if parameter.requires_grad:
                hidden = parameter.ndim == 2 and id(parameter) not in embeddings
                (matrices if hidden else rest).append(parameter)
        super().__init__([*matrices, *rest], {"lr": lr})
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self._share_groups()

    def _share_groups(self) -> None:
        """Expose the parts' own groups, so that a schedule that sets `lr` here sets it there."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step both parts; a closure is not supported."""
        if closure is not None:
            raise TypeError("MuonWithAdamW takes no closure")
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both parts."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both parts."""
        return {
            "parts": [part.state_dict() for part in self.parts],
            "state": {},
            "param_groups": [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
