"""Training speed: `python -m bench.training`. Tokens a second of one step, against the machine's matrix-product rate.

Compares float32 with bfloat16 autocast, and transformers' own loss with the chunked one, on the shape of a recipe. The
share of the matrix-product rate is 6 x parameters x tokens a second, attention not counted. Run it on an idle machine,
once with and once without `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, which spares the page faults of large buffers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import Qwen3ForCausalLM

from empathy_trainers.loss import next_token_loss
from empathy_trainers.optim import MuonWithAdamW
from empathy_trainers.pretrain import model_config
from empathy_trainers.recipe import Recipe, load_recipe

RECIPE = Path("trainers/recipes/tiny-cpu.yaml")


def product_rate(dtype: torch.dtype, size: int = 2048, times: int = 8) -> float:
    """Return GFLOP/s of a square matrix product."""
    left, right = torch.randn(2, size, size).to(dtype)
    left @ right
    start = time.perf_counter()
    for _ in range(times):
        left @ right
    return 2 * size**3 * times / (time.perf_counter() - start) / 1e9


def build(recipe: Recipe) -> Qwen3ForCausalLM:
    """Return a random model of the recipe's shape."""
    torch.manual_seed(recipe.seed)
    return Qwen3ForCausalLM(model_config(recipe.model, recipe.model.vocab_size))


def step_rate(
    recipe: Recipe, loss_of: Callable[[Qwen3ForCausalLM, torch.Tensor], torch.Tensor], steps: int
) -> tuple[float, int]:
    """Return the best tokens/s of `steps` training steps after one of warm-up, and the parameters."""
    model = build(recipe)
    optimizer = MuonWithAdamW(model, recipe.pretrain.learning_rate, recipe.pretrain.weight_decay)
    ids = torch.randint(0, recipe.model.vocab_size, (recipe.pretrain.batch, recipe.pretrain.block))
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        loss_of(model, ids).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return ids.numel() / min(seconds[1:]), sum(p.numel() for p in model.parameters())


def library_loss(model: Qwen3ForCausalLM, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the loss as transformers computes it."""
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        loss = model(input_ids=ids, labels=ids).loss
    assert loss is not None
    return loss


def chunked_loss(model: Qwen3ForCausalLM, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the loss as stage 0 computes it."""
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        hidden = model.model(input_ids=ids).last_hidden_state
    assert hidden is not None
    return next_token_loss(hidden, model.lm_head.weight, ids, dtype=dtype)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    print(f"threads {torch.get_num_threads()}")
    for dtype in (torch.float32, torch.bfloat16):
        rate = product_rate(dtype)
        print(f"{dtype}: matrix product {rate:.0f} GFLOP/s")
        for name, loss in (("transformers' loss", library_loss), ("chunked loss", chunked_loss)):
            tokens, size = step_rate(
                recipe, lambda m, i, loss=loss, dtype=dtype: loss(m, i, dtype), options.steps
            )
            share = 6 * size * tokens / 1e9 / rate
            print(f"  {name:<20} {tokens:6.0f} tokens/s, {share:.0%} of the product rate")


if __name__ == "__main__":
    main()
