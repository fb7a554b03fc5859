"""What a run came to: losses, perplexity, speed, the proof of the export, and the model card.

Perplexity depends on the tokenizer, hence bits a character of the visible text stand beside it:
nats of all predicted tokens over characters, tags and turn marks paid for but not counted.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empathy_trainers.base import plot_losses, read_log
from empathy_trainers.recipe import Recipe, Source

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from empathy_trainers.data.coe import Sequences
    from empathy_trainers.export import Quantization, VerifyReport

LICENCE = "Apache-2.0"
PROMPTS = 20
"""Held-out prompts that the export is compared on."""
HELD_OUT_TEXTS = 8
"""Held-out texts for the perplexity of the exported file."""


def run_metrics(run_dir: Path) -> dict[str, float]:
    """Return tokens, tokens a second, hours and the mean of the last ten logged training losses."""
    rows = read_log(run_dir)
    speeds, seconds, before = [], 0.0, {"tokens": 0.0, "seconds": 0.0}
    for row in rows:
        resumed = row["seconds"] < before["seconds"]
        spent = row["seconds"] if resumed else row["seconds"] - before["seconds"]
        seconds += spent
        if not resumed and spent > 0 and row["tokens"] > before["tokens"] > 0:
            speeds.append((row["tokens"] - before["tokens"]) / spent)
        before = row
    losses = [row["loss"] for row in rows if "loss" in row][-10:]
    return {
        "tokens": max((row["tokens"] for row in rows), default=0),
        "tokens_per_second": round(statistics.median(speeds)) if speeds else math.nan,
        "hours": round(seconds / 3600, 2),
        "train_loss": round(statistics.fmean(losses), 4) if losses else math.nan,
    }


def heldout_metrics(
    model_dir: Path, batches: Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]
) -> dict[str, float]:
    """Return loss, perplexity and bits a character of a model on `batches` of ids and labels."""
    from transformers import PreTrainedTokenizerFast

    from empathy_trainers.loss import IGNORE
    from empathy_trainers.pretrain import load_model
    from empathy_trainers.sft import heldout_loss

    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(model_dir))
    loss, tokens = heldout_loss(load_model(model_dir), batches())
    characters = sum(
        len(_visible(tokenizer, [i for i in row[1:].tolist() if i != IGNORE]))
        for _, labels in batches()
        for row in labels
    )
    return {
        "loss": round(loss, 4),
        "perplexity": round(math.exp(loss), 3),
        "bits_per_character": round(loss * tokens / max(characters, 1) / math.log(2), 4),
        "tokens": tokens,
        "characters": characters,
    }


def _visible(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def block_batches(recipe: Recipe, work_dir: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the held-out blocks of stage 0 one by one, every token counted."""
    from empathy_trainers.data.blocks import BlockDataset

    stage = recipe.pretrain
    blocks = BlockDataset(work_dir / "heldout.ids", stage.block, limit=stage.eval_blocks)
    for index in range(len(blocks)):
        ids = blocks[index]["input_ids"].unsqueeze(0)
        yield ids, ids


def chain_batches(sequences: Sequences) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield held-out chains with their answers one by one, the post not counted."""
    import torch

    from empathy_trainers.loss import IGNORE

    for index in range(len(sequences)):
        ids, completion = sequences[index]
        row = torch.from_numpy(ids).unsqueeze(0)
        yield row, row.masked_fill(~torch.from_numpy(completion).unsqueeze(0), IGNORE)


def measure(recipe: Recipe, work_dir: Path, figures: Path | None) -> dict[str, Any]:
    """Measure both stages and draw their curves; return the figures, also in `metrics.json`.

    Args:
        recipe: The recipe of the run.
        work_dir: The run.
        figures: Folder of the PNGs; None draws none.
    """
    from empathy_trainers.data.coe import Sequences
    from empathy_trainers.pretrain import PROGRESS

    found: dict[str, Any] = {"name": recipe.name}
    titles = {
        "stage0": f"{recipe.name}, stage 0: language model",
        "stage1": f"{recipe.name}, stage 1: Chain-of-Empathy SFT",
    }
    valid = work_dir / "sft-valid.npz"
    for stage, folder in (("stage0", "base"), ("stage1", "sft")):
        if not read_log(work_dir / stage):
            continue
        found[stage] = run_metrics(work_dir / stage)
        if stage == "stage0" and (work_dir / folder / PROGRESS).is_file():
            # A run that was killed logged more than its last whole checkpoint, the base, has seen.
            seen = json.loads((work_dir / folder / PROGRESS).read_text(encoding="utf-8"))
            found[stage]["tokens"] = seen["tokens"]
        if figures is not None:
            plot_losses(work_dir / stage, titles[stage], figures / f"{stage}.png")
        if (work_dir / folder / "model.safetensors").is_file():
            found[stage]["heldout_dialogues"] = heldout_metrics(
                work_dir / folder, lambda: block_batches(recipe, work_dir)
            )
            if valid.is_file():
                found[stage]["heldout_chains"] = heldout_metrics(
                    work_dir / folder, lambda: chain_batches(Sequences(valid))
                )
    for split in ("train", "valid"):
        if (report := work_dir / f"sft-{split}.json").is_file():
            found[f"sft_{split}"] = json.loads(report.read_text(encoding="utf-8"))
    write_json(work_dir / "metrics.json", found)
    return found


def export(
    recipe: Recipe, work_dir: Path, out: Path, quantization: Quantization | None = None
) -> Path:
    """Export the model of stage 1 to `out`, as the recipe says unless told, and return `out`."""
    from empathy_trainers.export import export_gguf

    return export_gguf(
        work_dir / "sft",
        out,
        quantization=quantization or recipe.quantization,
        languages=["zh"],
        name=recipe.name,
        licence=LICENCE,
        demonstration=True,
        description="A small demonstration model of empathy-agent; weak by nature, Chinese only.",
    )


def verify_exports(recipe: Recipe, work_dir: Path, shipped: Path) -> list[VerifyReport]:
    """Compare the shipped file, and f32 and f16 exports made for it, with transformers."""
    from empathy_trainers.data.coe import Sequences
    from empathy_trainers.export import verify

    valid = Sequences(work_dir / "sft-valid.npz")
    texts = [valid[index] for index in range(len(valid))]
    prompts = [ids[~completion].tolist() for ids, completion in texts[:PROMPTS]]
    heldout = [ids.tolist() for ids, _ in texts[:HELD_OUT_TEXTS]]
    kinds: tuple[Quantization, ...] = ("f16", "f32")
    others = [kind for kind in kinds if kind != recipe.quantization]
    files = [shipped]
    files += [export(recipe, work_dir, work_dir / f"{recipe.name}-{k}.gguf", k) for k in others]
    reports = [verify(work_dir / "sft", file, prompts, heldout=heldout) for file in files]
    write_json(work_dir / "verify.json", [report.model_dump(mode="json") for report in reports])
    return reports


def sources_seen(recipe: Recipe, data_dir: Path, work_dir: Path, tokens: int) -> list[Source]:
    """Return the sources of every tier that the first `tokens` of pretraining reached.

    The SFT records come from the first tier. Documents are counted by their end tokens.
    """
    import numpy as np

    from empathy_trainers.data.corpora import iter_documents
    from empathy_trainers.tokenizer import END_OF_TEXT, load_tokenizer, token_id

    end = token_id(load_tokenizer(work_dir / "tokenizer"), END_OF_TEXT)
    ids = np.memmap(work_dir / "pretrain.ids", dtype=np.uint16, mode="r")[:tokens]
    documents, before = int((ids == end).sum()), 0
    found: list[Source] = []
    for tier in sorted({source.tier for source in recipe.sources}):
        if found and documents <= before:
            break
        sources = [source for source in recipe.sources if source.tier == tier]
        found += sources
        before += sum(1 for source in sources for _ in iter_documents(data_dir, source.name))
    return found


def write_model_card(
    recipe: Recipe,
    data_dir: Path,
    work_dir: Path,
    shipped: Path,
    metrics: dict[str, Any],
    verifications: Sequence[VerifyReport],
    samples: Path | None,
) -> Path:
    """Write the card beside `shipped`, from the figures of this run alone, and return its path."""
    from empathy_trainers.export import CardFacts, CardSource, sha256_of, write_card
    from empathy_trainers.pretrain import load_model

    model = load_model(work_dir / "sft")
    tokens = int(metrics.get("stage0", {}).get("tokens", 0))
    seen = sources_seen(recipe, data_dir, work_dir, tokens) if tokens else recipe.sources
    facts = CardFacts(
        name=recipe.name,
        architecture="Qwen3 (dense, tied embeddings)",
        parameters=model.num_parameters(),
        context=recipe.model.context,
        vocabulary=recipe.model.vocab_size,
        languages=("zh",),
        licence=LICENCE,
        recipe=recipe.name,
        date=datetime.now(UTC).date().isoformat(),
        file=shipped.name,
        size_bytes=shipped.stat().st_size,
        sha256=sha256_of(shipped),
        quantization=recipe.quantization,
        sources=tuple(CardSource.from_recipe(source) for source in seen),
        stages=tuple(_card_stages(metrics)),
        format_share=_format_share(samples),
        verifications=tuple(verifications),
    )
    return write_card(facts, shipped.with_suffix(".md"))


def _card_stages(metrics: dict[str, Any]) -> Iterator[Any]:
    from empathy_trainers.export import CardStage

    names = {
        "stage0": ("0: language model", "heldout_dialogues"),
        "stage1": ("1: Chain-of-Empathy SFT", "heldout_chains"),
    }
    for stage, (name, heldout) in names.items():
        if stage in metrics:
            run, held_out = metrics[stage], metrics[stage].get(heldout, {})
            yield CardStage(
                name=name,
                tokens_seen=int(run["tokens"]),
                train_loss=run["train_loss"],
                heldout_loss=held_out.get("loss"),
                heldout_perplexity=held_out.get("perplexity"),
                tokens_per_second=run["tokens_per_second"],
                hours=run["hours"],
            )


def _format_share(samples: Path | None) -> Any:  # noqa: ANN401
    from empathy_trainers.export.card import FormatShare

    if samples is None or not samples.is_file():
        return None
    found = json.loads(samples.read_text(encoding="utf-8")).get("format_share")
    return found and FormatShare(
        valid=found["valid"], total=found["total"], settings=found["settings"]
    )


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path`, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
