"""Muon with AdamW behind one optimizer: who steps what, schedules, state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from empathy_trainers.optim import MuonWithAdamW


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 11))


def step(model: nn.Module, optimizer: MuonWithAdamW, seed: int) -> None:
    ids = torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(ids).square().mean().backward()
    optimizer.step()


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def test_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    model = make_model()
    optimizer = MuonWithAdamW(model, lr=0.01, weight_decay=0.0)
    muon, adamw = ([p for g in part.param_groups for p in g["params"]] for part in optimizer.parts)
    assert {p.shape for p in muon} == {torch.Size([8, 8]), torch.Size([11, 8])}
    assert any(p is model[0].weight for p in adamw)
    assert len(muon) + len(adamw) == len(list(model.parameters()))


def test_a_schedule_sets_the_rate_of_both_parts() -> None:
    optimizer = MuonWithAdamW(make_model(), lr=0.01, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
    assert {g["lr"] for part in optimizer.parts for g in part.param_groups} == {0.005}
    assert schedule.get_last_lr() == [0.005, 0.005]


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_state_survives_a_round_trip() -> None:
    model = make_model()
    optimizer = MuonWithAdamW(model, lr=0.01, weight_decay=0.05)
    for seed in range(3):
        step(model, optimizer, seed)
    resumed = copy.deepcopy(model)
    again = MuonWithAdamW(resumed, lr=0.5, weight_decay=0.05)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(resumed, again, seed)
    for one, other in zip(weights(model), weights(resumed), strict=True):
        torch.testing.assert_close(one, other)
    assert again.param_groups[0] is again.parts[0].param_groups[0]


def test_a_closure_is_refused() -> None:
    optimizer = MuonWithAdamW(make_model(), lr=0.01, weight_decay=0.0)
    with pytest.raises(TypeError, match="closure"):
        optimizer.step(lambda: 0.0)
