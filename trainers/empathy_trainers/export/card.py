"""The model card, written from the facts of a run.

Every figure comes in through `CardFacts`; what was not measured says so. The sentences about what
the model is and is not are fixed: a run can change the figures, not the warning.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from empathy_trainers.export.report import Record, VerifyReport
from empathy_trainers.recipe import Source

_NOT_MEASURED: Final = "not measured"
_PUBLISHER: Final = "the publisher's, in the repository named"

_WEAKNESS: Final = """\
This is a **demonstration and test model**. It shows that the chain, the graph and the file work
on a plain CPU with nothing else installed. It is weak by nature: it is tiny, was trained from
scratch on little text, repeats itself, loses the thread, and often names the wrong feeling, cause
or wish. A fluent sentence of it is no sign of understanding. Do not use it for anything real.

- **Languages:** {languages} only. In other languages its text is noise. The safety floor of
  `empathy-agent` does not depend on this model and works in Chinese and English alike.
- **Not clinical.** It is no therapist, no diagnosis and no crisis service, and nobody with
  clinical training has judged its replies. Whoever is in danger needs people; the safety floor
  names resources.
- **Labels are weak.** The chains it learnt were written by rules and lexicons, not by people: a
  machine marked the feelings, causes, wishes and strategies, and it errs.
- **Sources are partly machine-made.** Much of the dialogue text was written by language models,
  with their mannerisms and mistakes; real posts lie behind some of it.

For real use, give the file of a real model: `--model path/to/model.gguf`."""


class CardSource(Record):
    """One corpus, with its terms and who vouches for them."""

    name: str
    origin: str
    licence: str
    on_whose_word: str = _PUBLISHER

    @classmethod
    def from_recipe(cls, source: Source) -> CardSource:
        """Return a recipe's source; the bracket after its licence says on whose word it is."""
        licence, _, word = source.licence.partition(" (")
        return cls(
            name=source.name,
            origin=source.origin,
            licence=licence,
            on_whose_word=word.removesuffix(")") or _PUBLISHER,
        )


class CardStage(Record):
    """What one training stage did."""

    name: str
    tokens_seen: int
    """Training tokens, repeats included."""
    train_loss: float | None
    """Nats a token, last logged."""
    heldout_loss: float | None
    """Nats a token."""
    heldout_perplexity: float | None
    tokens_per_second: float | None = None
    hours: float | None = None
    device: str | None = None


class FormatShare(Record):
    """Free single-pass generations that parsed strictly."""

    valid: int
    total: int
    settings: str
    """How they were sampled, in words ("temperature 0.7, seed 1")."""


class CardFacts(Record):
    """Everything that a card states as a figure or a name."""

    name: str
    architecture: str
    parameters: int
    context: int
    """Tokens."""
    vocabulary: int
    languages: tuple[str, ...]
    licence: str
    recipe: str
    """Name or path of the recipe in the repository."""
    date: str
    """ISO date of the export."""
    file: str
    size_bytes: int
    sha256: str
    quantization: str
    sources: tuple[CardSource, ...]
    stages: tuple[CardStage, ...]
    format_share: FormatShare | None = None
    verifications: tuple[VerifyReport, ...] = ()
    """Of the shipped file, and of the f32 export it descends from."""
    notes: tuple[str, ...] = ()
    """Further findings of the run, a sentence each."""


def write_card(facts: CardFacts, out: Path) -> Path:
    """Write the card to `out`, whole or not at all, and return `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(render_card(facts), encoding="utf-8")
    return partial.replace(out)


def render_card(facts: CardFacts) -> str:
    """Return the card as Markdown."""
    parts = [
        f"# {facts.name}",
        f"Written by the export of {facts.date} from the run's own figures; do not edit by hand.",
        _section("What it is, and what it is not", _weakness(facts)),
        _section("The file", _file_table(facts)),
        _section("Training data", _source_table(facts)),
        _section("Training", _stage_table(facts)),
        _section("Does it keep the format?", _format_line(facts.format_share)),
        _section("The file against transformers", _verification_text(facts.verifications)),
    ]
    if facts.notes:
        parts.append(_section("Further findings", "\n".join(f"- {note}" for note in facts.notes)))
    return "\n\n".join(parts) + "\n"


def _weakness(facts: CardFacts) -> str:
    return _WEAKNESS.format(languages=", ".join(facts.languages))


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(one.replace("|", "\\|") for one in row) + " |" for row in lines
    )


def _number(value: float | None, digits: int) -> str:
    return _NOT_MEASURED if value is None else f"{value:,.{digits}f}"


def _file_table(facts: CardFacts) -> str:
    rows = [
        ("file", f"`{facts.file}`"),
        ("size", f"{facts.size_bytes:,} bytes ({facts.size_bytes / 1e6:.1f} MB)"),
        ("SHA-256", f"`{facts.sha256}`"),
        ("type", facts.quantization),
        ("architecture", facts.architecture),
        ("parameters", f"{facts.parameters:,}"),
        ("context", f"{facts.context:,} tokens"),
        ("vocabulary", f"{facts.vocabulary:,} tokens"),
        ("languages", ", ".join(facts.languages)),
        ("licence of the weights", facts.licence),
        ("recipe", f"`{facts.recipe}`"),
    ]
    return _table(("", ""), rows)


def _source_table(facts: CardFacts) -> str:
    rows = [(one.name, one.origin, one.licence, one.on_whose_word) for one in facts.sources]
    table = _table(("corpus", "origin", "licence", "on whose word"), rows)
    return f"{table}\n\nWe have not cleared any rights beyond what the publishers say."


def _stage_table(facts: CardFacts) -> str:
    head = ("stage", "tokens seen", "training loss", "held-out loss", "held-out perplexity", "cost")
    rows = []
    for one in facts.stages:
        cost = [
            None if one.hours is None else f"{one.hours:.1f} h",
            None if one.tokens_per_second is None else f"{one.tokens_per_second:,.0f} tokens/s",
            one.device,
        ]
        rows.append(
            (
                one.name,
                f"{one.tokens_seen:,}",
                _number(one.train_loss, 3),
                _number(one.heldout_loss, 3),
                _number(one.heldout_perplexity, 2),
                ", ".join(part for part in cost if part) or _NOT_MEASURED,
            )
        )
    seen = sum(one.tokens_seen for one in facts.stages) / max(facts.parameters, 1)
    return (
        f"{_table(head, rows)}\n\nLosses are nats a token. In all {seen:.1f} tokens a parameter; "
        "about 20 would be compute-optimal (Hoffmann et al., arXiv 2203.15556)."
    )


def _format_line(share: FormatShare | None) -> str:
    if share is None or not share.total:
        return f"Free single-pass generations in valid format: {_NOT_MEASURED}."
    return (
        f"{share.valid} of {share.total} free single-pass generations "
        f"({share.valid / share.total:.0%}) were in valid format ({share.settings}). In the graph "
        "the nodes write the tags, so there the format holds by construction."
    )


def _verification_text(reports: Sequence[VerifyReport]) -> str:
    return "\n".join(_verification_line(one) for one in reports) or f"Agreement: {_NOT_MEASURED}."


def _verification_line(report: VerifyReport) -> str:
    words = [
        f"- **{report.quantization}** (`{report.file}`): {report.identical_prompts} of "
        f"{report.prompts} prompts give the same {report.new_tokens} greedy tokens"
    ]
    if report.differences:
        widest = max(one.chosen_gap for one in report.differences)
        words.append(
            f"; where they first part, transformers prefers its own token by at most {widest:.3f} "
            f"logits (the median gap of its best two is {report.median_top_two_gap:.2f})"
        )
    if report.perplexity:
        words.append(
            f"; perplexity {report.perplexity.llama_cpp:.3f} against "
            f"{report.perplexity.transformers:.3f} ({report.perplexity.relative_change:+.3%}) on "
            f"{report.perplexity.tokens:,} held-out tokens"
        )
    agree = report.tokenizer_texts - len(report.tokenizer_mismatches)
    words.append(f"; tokenizers agree on {agree} of {report.tokenizer_texts} probe texts.")
    return "".join(words)
