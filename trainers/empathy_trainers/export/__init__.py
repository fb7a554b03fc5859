"""From a Hugging Face folder to the GGUF that ships, with the proof that nothing got lost.

`checkpoint` reads the folder, `vocabulary` turns its tokenizer into GGUF's terms, `gguf_writer`
writes the file (llama.cpp itself quantises), `runner` drives llama.cpp and `verify` compares it
with transformers, `card` writes the model card from the facts of a run.

    path = export_gguf(folder, out, quantization="q8_0", languages=["zh"], name=..., licence=...)
    report = verify(folder, path, prompts, heldout=blocks)
    write_card(CardFacts(..., verification=report), out_card)
"""

from empathy_trainers.export.card import CardFacts, CardSource, CardStage, render_card, write_card
from empathy_trainers.export.gguf_writer import Quantization, export_gguf, sha256_of, verify_sha256
from empathy_trainers.export.report import VerifyReport
from empathy_trainers.export.verify import NASTY_TEXTS, verify

__all__ = [
    "NASTY_TEXTS",
    "CardFacts",
    "CardSource",
    "CardStage",
    "Quantization",
    "VerifyReport",
    "export_gguf",
    "render_card",
    "sha256_of",
    "verify",
    "verify_sha256",
    "write_card",
]
