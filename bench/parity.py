"""Same weights, greedy: does `llama_cpp` write what `transformers` writes, over whole chains?

    python -m bench.parity [--gguf FILE] [--tokenizer FOLDER] [--posts 20] [--mode graph]

The weights of a GGUF (by default the embedded model's) are read by transformers into float32, saved,
and exported again as an f32 GGUF: both backends then hold the same numbers. Each answers the held-out
posts of docs/samples.md through the whole graph, greedily. The two texts must be equal to the letter.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path

from bench.cases import GREEDY
from empathy_agent.backends.base import Backend
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.transformers import TransformersBackend
from empathy_agent.backends.transformers.loading import FACTS_KEY
from empathy_agent.chain import EmpathyReply
from empathy_agent.config import Settings
from empathy_agent.models.resolver import TINY_PATH
from empathy_agent.vocabulary import LAYERS
from empathy_graph.agent import EmpathyAgent

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / "trainers" / "checkpoints" / "empathy-tiny-zh"
SAMPLES = ROOT / "docs" / "samples.md"


def sample_posts(path: Path = SAMPLES) -> list[str]:
    """Return the posts that the samples quote: the first block quote under each numbered heading."""
    sections = re.split(r"^#+ \d+\. ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    posts = [re.search(r"(?:^> ?.*\n)+", section, re.MULTILINE) for section in sections]
    found = [re.sub(r"^> ?", "", post[0], flags=re.MULTILINE).strip() for post in posts if post]
    if not found:
        raise SystemExit(f"{path.name} quotes no post")
    return found


def same_weights(gguf: Path, tokenizer: Path, folder: Path) -> tuple[Path, Path]:
    """Return a safetensors folder and an f32 GGUF with the numbers of `gguf`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from empathy_trainers.export.gguf_writer import export_gguf

    # The file's own configuration lacks what transformers does not read, such as the head size.
    config = AutoConfig.from_pretrained(str(tokenizer))
    # A demonstration model answers nobody at risk; here every post is to be answered.
    vars(config).pop(FACTS_KEY, None)
    dequantised = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, config=config, dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_config(config)  # one that may be saved
    model.load_state_dict(dequantised.state_dict())
    safetensors = folder / "safetensors"
    model.save_pretrained(safetensors)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / name, safetensors / name)
    f32 = export_gguf(
        safetensors,
        folder / "f32.gguf",
        quantization="f32",
        languages=("zh",),
        name="parity",
        licence="Apache-2.0",
    )
    return safetensors, f32


def replies(backend: Backend, posts: list[str], mode: str) -> list[EmpathyReply]:
    """Answer each post greedily, each by itself."""
    settings = Settings(
        sampling=GREEDY, mode="single_pass" if mode == "single_pass" else "graph", on_fault="raise"
    )
    with backend:
        agent = EmpathyAgent(backend, settings=settings)
        return [agent.invoke(post) for post in posts]


def texts(reply: EmpathyReply) -> dict[str, str]:
    """Return the reply's layers and answer by name."""
    found = {name: getattr(reply.chain, name) for name in LAYERS}
    return {
        **{name: one.text if one else "" for name, one in found.items()},
        "answer": reply.answer,
    }


def main() -> None:
    """Run both sides and report each difference."""
    parser = argparse.ArgumentParser(prog="python -m bench.parity")
    parser.add_argument("--gguf", type=Path, default=TINY_PATH)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--posts", type=int, default=20)
    parser.add_argument("--mode", choices=("graph", "single_pass"), default="graph")
    options = parser.parse_args()
    posts = sample_posts()[: options.posts]
    with tempfile.TemporaryDirectory() as scratch:
        safetensors, f32 = same_weights(options.gguf, options.tokenizer, Path(scratch))
        ours = replies(LlamaCppBackend(f32, cache_type="f32"), posts, options.mode)
        theirs = replies(TransformersBackend(safetensors), posts, options.mode)
    equal = 0
    tokens = 0
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        first, second = texts(one), texts(other)
        different = [name for name in first if first[name] != second[name]]
        equal += not different
        tokens += one.usage.completion_tokens
        if different:
            print(f"  post {number}: {', '.join(different)} differ")
    written = sum(bool(one.usage.completion_tokens) for one in ours)
    print(
        f"{equal} of {len(posts)} chains and answers equal, {written} of them written by the model, "
        f"{tokens} tokens ({options.mode})"
    )
    raise SystemExit(equal != len(posts))


if __name__ == "__main__":
    main()
