"""GGUF export against transformers itself: random tiny models, and a tokenizer trained here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.errors import ConfigError, ContextOverflow
from empathy_agent.segments import ALL_TAGS
from empathy_trainers.export import (
    NASTY_TEXTS,
    CardFacts,
    CardSource,
    CardStage,
    Quantization,
    VerifyReport,
    export_gguf,
    render_card,
    verify,
    verify_sha256,
    write_card,
)
from empathy_trainers.export.card import FormatShare
from empathy_trainers.export.report import Difference, Perplexity
from empathy_trainers.export.runner import LlamaRunner
from empathy_trainers.export.vocabulary import LLAMA3_PATTERN, recognise_pre_tokenizer
from empathy_trainers.recipe import Source
from empathy_trainers.tokenizer import QWEN2_PATTERN, train_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("llama_cpp")

LINES = [
    "今天加班到很晚，回家路上下雨了，我一个人走了很久。",
    "听起来你很累，也有一点委屈，这样的感受很真实。",
    "I'm not sure why, but she'd said 1234 things; don't worry 🙂\n\n",
    *NASTY_TEXTS.values(),
] * 3
PADDED_ROWS = 13  # rows of the embedding beyond the tokenizer's ids

MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(LINES, 600, folder)
    return folder


@pytest.fixture(scope="module")
def make_model(tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    def make(kind: str, dtype: Any = torch.float32, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp(kind.lower())
        shutil.copytree(tokenizer_dir, folder, dirs_exist_ok=True)
        vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        settings = {
            "vocab_size": len(vocabulary) + PADDED_ROWS,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 96,
            "max_position_embeddings": 512,
            "initializer_range": 0.3,  # the usual 0.02 makes every logit a close call
            "bos_token_id": vocabulary["<|endoftext|>"],
            "eos_token_id": vocabulary["<|im_end|>"],
            "pad_token_id": vocabulary["<|endoftext|>"],
            **changes,
        }
        torch.manual_seed(7)
        config = getattr(transformers, f"{kind}Config")(**settings)
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # norms and biases start as ones and zeros, which hide mistakes
                torch.nn.init.uniform_(parameter, 0.5, 1.5) if "norm" in name else None
                torch.nn.init.normal_(parameter, 0, 0.3) if "bias" in name else None
        model.to(dtype).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def qwen3(make_model: MakeModel) -> Path:
    return make_model("Qwen3", head_dim=32, tie_word_embeddings=True)


def export(folder: Path, out: Path, quantization: Quantization = "f32") -> Path:
    return export_gguf(
        folder,
        out,
        quantization=quantization,
        languages=["zh"],
        name="random-tiny",
        licence="CC0-1.0",
        description="random weights",
        threads=1,
    )


def prompts_for(count: int, length: int = 9) -> list[list[int]]:
    numbers = np.random.default_rng(3).integers(20, 500, size=(count, length))
    return [[int(token) for token in row] for row in numbers]


def generate(folder: Path, prompt: list[int], count: int) -> list[int]:
    """Continue a prompt with transformers' own loop."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count
    )
    return [int(token) for token in out[0, len(prompt) :]]


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3 tied": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3 untied": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": False}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False}),
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama all heads": ("Llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3.1 rope": (
        "Llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_f32_export_continues_exactly_as_transformers_does(
    name: str, make_model: MakeModel, tmp_path: Path
) -> None:
    kind, changes = MODELS[name]
    folder = make_model(kind, **changes)
    path = export(folder, tmp_path / "m.gguf")
    report = verify(folder, path, prompts_for(4, length=40), new_tokens=64, threads=1)
    assert report.is_ok, report
    assert report.identical_prompts == 4
    assert report.cache == report.quantization == "f32"
    assert report.largest_logit_error < 1e-2
    assert report.median_top_two_gap > 0.1


def test_the_one_pass_comparison_says_what_generation_says(qwen3: Path, tmp_path: Path) -> None:
    path = export(qwen3, tmp_path / "m.gguf")
    with LlamaRunner(path, context=128, threads=1) as runner:
        for prompt in prompts_for(3):
            assert runner.greedy(prompt, 32)[0] == generate(qwen3, prompt, 32)


def test_twenty_prompts_of_sixty_four_tokens_agree_in_f32(qwen3: Path, tmp_path: Path) -> None:
    report = verify(qwen3, export(qwen3, tmp_path / "m.gguf"), prompts_for(20), threads=1)
    assert report.is_ok
    assert (report.identical_prompts, report.new_tokens) == (20, 64)


@pytest.mark.parametrize("quantization", ["f16", "q8_0"])
def test_smaller_types_differ_at_close_calls_only_and_keep_the_perplexity(
    quantization: Quantization, qwen3: Path, tmp_path: Path
) -> None:
    path = export(qwen3, tmp_path / "m.gguf", quantization)
    held_out = prompts_for(2, length=200)
    # Weights this large lose more than a trained model's; the median top-two gap is about 0.6.
    report = verify(qwen3, path, prompts_for(4), heldout=held_out, close_call=0.3, threads=1)
    assert report.is_ok, report
    assert report.quantization == quantization
    assert report.perplexity is not None
    assert report.perplexity.tokens == 398
    assert abs(report.perplexity.relative_change) < 0.01
    assert report.close_call < report.median_top_two_gap
    for one in report.differences:
        assert one.expected != one.got
        assert 0 <= one.top_two_gap <= one.chosen_gap
    assert (
        type(report).model_validate_json(report.model_dump_json(exclude_computed_fields=True))
        == report
    )


def test_a_wrong_file_is_found_out(qwen3: Path, make_model: MakeModel, tmp_path: Path) -> None:
    other = make_model("Qwen3", head_dim=32, tie_word_embeddings=True, rope_theta=500.0)
    changed = transformers.AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        changed.model.layers[0].mlp.up_proj.weight.mul_(-1)
    changed.save_pretrained(other)
    report = verify(qwen3, export(other, tmp_path / "m.gguf"), prompts_for(3), threads=1)
    assert not report.is_ok
    assert report.identical_prompts < 3


def test_half_precision_folders_are_exported_without_loss(
    make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model("Qwen3", torch.bfloat16, head_dim=32, tie_word_embeddings=True)
    assert verify(folder, export(folder, tmp_path / "m.gguf"), prompts_for(2), threads=1).is_ok


def test_sharded_folders_are_read_through_their_index(qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    shutil.copytree(qwen3, folder)
    (folder / "model.safetensors").unlink()
    model = transformers.AutoModelForCausalLM.from_pretrained(qwen3)
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    whole = export(qwen3, tmp_path / "whole.gguf").read_bytes()
    assert export(folder, tmp_path / "sharded.gguf").read_bytes() == whole
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(ConfigError, match="which its index names"):
        export(folder, tmp_path / "m.gguf")


def test_metadata_tokens_and_template_are_in_the_file(qwen3: Path, tmp_path: Path) -> None:
    path = export(qwen3, tmp_path / "m.gguf")
    reader = gguf.GGUFReader(path)

    def value(key: str) -> Any:
        field = reader.get_field(key)
        assert field is not None, key
        return field.contents()

    assert value("general.architecture") == "qwen3"
    assert value("general.name") == "random-tiny"
    assert value("general.license") == "CC0-1.0"
    assert value("general.languages") == ["zh"]
    assert value("empathy_agent.languages") == "zh"
    assert value("qwen3.context_length") == 512
    assert value("qwen3.attention.key_length") == 32
    assert value("tokenizer.ggml.pre") == "qwen2"
    assert value("tokenizer.ggml.add_bos_token") is False
    assert value("tokenizer.chat_template") == (qwen3 / "chat_template.jinja").read_text()
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    assert tokens[value("tokenizer.ggml.eos_token_id")] == "<|im_end|>"
    assert tokens[value("tokenizer.ggml.padding_token_id")] == "<|endoftext|>"
    for tag in ALL_TAGS:
        assert kinds[tokens.index(tag)] == gguf.TokenType.CONTROL
    assert tokens[-1] == f"[PAD{len(tokens) - 1}]"
    assert kinds[-PADDED_ROWS:] == [gguf.TokenType.UNUSED] * PADDED_ROWS
    assert not any(tensor.name == "output.weight" for tensor in reader.tensors)


def test_tokenizers_agree_and_no_text_forges_a_control_token(qwen3: Path, tmp_path: Path) -> None:
    path = export(qwen3, tmp_path / "m.gguf", "q8_0")
    report = verify(qwen3, path, prompts_for(1), new_tokens=1, close_call=100.0, threads=1)
    assert report.tokenizer_texts == len(NASTY_TEXTS)
    assert report.tokenizer_mismatches == ()
    assert report.forged_controls == ()
    with LlamaRunner(path, context=64, threads=1) as runner:
        for tag in ALL_TAGS:
            assert runner.vocabulary.control_token(tag) is not None
            assert len(runner.vocabulary.tokenize(tag, is_control=False)) > 1


def test_another_tokenizer_and_forged_tags_are_found_out(qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(qwen3, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:50]
    for one in tokenizer["added_tokens"]:
        one["special"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    report = verify(qwen3, export(folder, tmp_path / "m.gguf"), prompts_for(1), threads=1)
    assert "chinese" in report.tokenizer_mismatches
    assert report.forged_controls == ("forged tags", "tags in text")
    assert not report.is_ok


def test_a_llama_3_tokenizer_is_cut_alike_and_keeps_its_bos(
    make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model("Llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = LLAMA3_PATTERN
    tokenizer["model"]["ignore_merges"] = True
    bos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, sequence],
        "pair": [bos, sequence, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["bos_token"] = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    path = export(folder, tmp_path / "m.gguf")
    report = verify(folder, path, prompts_for(1), new_tokens=1, threads=1)
    assert report.tokenizer_mismatches == ()
    with LlamaRunner(path, context=64, threads=1) as runner:
        assert runner.vocabulary.metadata("tokenizer.ggml.pre") == "llama-bpe"
        assert runner.vocabulary.adds_bos


def test_user_defined_tokens_are_told_apart_from_special_ones(qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "added"
    shutil.copytree(qwen3, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    number = len(tokenizer["model"]["vocab"])
    plain = dict(tokenizer["added_tokens"][0], id=number, content="[注]", special=False)
    tokenizer["added_tokens"].append(plain)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    field = gguf.GGUFReader(export(folder, tmp_path / "m.gguf")).get_field(
        "tokenizer.ggml.token_type"
    )
    assert field is not None
    assert field.contents()[number] == gguf.TokenType.USER_DEFINED


def test_the_backend_that_serves_reads_the_file(qwen3: Path, tmp_path: Path) -> None:
    backend = LlamaCppBackend(export(qwen3, tmp_path / "m.gguf", "q8_0"), n_ctx=256, n_threads=1)
    try:
        assert backend.name == "random-tiny"
        assert backend.capabilities.languages == ("zh",)
        assert backend.capabilities.control_tags
        assert backend.capabilities.exact_borders
        assert backend.capabilities.chat_template == "model"
    finally:
        backend.close()


def test_the_checksum_beside_the_file_is_sha256sums_own(qwen3: Path, tmp_path: Path) -> None:
    path = export(qwen3, tmp_path / "m.gguf")
    digest, name = (tmp_path / "m.gguf.sha256").read_text().removesuffix("\n").split("  ")
    assert (len(digest), name) == (64, "m.gguf")
    assert verify_sha256(path)
    path.write_bytes(path.read_bytes() + b"x")
    assert not verify_sha256(path)


def test_a_failed_export_leaves_the_old_file_and_nothing_else(qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(qwen3, folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(qwen3)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(folder)
    out = tmp_path / "out" / "m.gguf"
    before = export(qwen3, out).read_bytes()
    with pytest.raises(ConfigError, match="NaN or infinity"):
        export(folder, out)
    assert out.read_bytes() == before
    assert sorted(one.name for one in out.parent.iterdir()) == ["m.gguf", "m.gguf.sha256"]


def test_weights_beyond_half_precision_are_refused_as_f16_only(qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    shutil.copytree(qwen3, folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(qwen3)
    with torch.no_grad():
        model.model.embed_tokens.weight[0, 0] = 1e5
    model.save_pretrained(folder)
    with pytest.raises(ConfigError, match="does not fit f16"):
        export(folder, tmp_path / "m.gguf", "f16")
    assert export(folder, tmp_path / "m.gguf").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "'GPT2LMHeadModel' cannot be exported.*Qwen3"),
        ({"architectures": None}, "architecture 'none'"),
        ({"attention_bias": True}, "no attention biases"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"tie_word_embeddings": False}, "no 'lm_head.weight'"),
        ({"num_hidden_layers": 1, "layer_types": ["full_attention"]}, "has no name in GGUF"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding window"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
            "rope scaling 'yarn'",
        ),
    ],
)
def test_what_would_not_be_exact_is_a_config_error(
    changes: dict[str, Any], message: str, qwen3: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(qwen3, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message):
        export(folder, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_is_named(missing: str, qwen3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incomplete"
    shutil.copytree(qwen3, folder)
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        export(folder, tmp_path / "m.gguf")


def test_bad_arguments_are_config_errors(qwen3: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\.gguf'"):
        export(qwen3, tmp_path / "m.bin")
    with pytest.raises(ConfigError, match="'q3_x' is unknown"):
        export(qwen3, tmp_path / "m.gguf", "q3_x")  # type: ignore[arg-type]
    path = export(qwen3, tmp_path / "m.gguf")
    with pytest.raises(ConfigError, match="at least one prompt"):
        verify(qwen3, path, [])
    with pytest.raises(ContextOverflow, match="the model takes 512"):
        verify(qwen3, path, [[1] * 500], threads=1)


def bpe(pattern: str = QWEN2_PATTERN, **model: Any) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {
        "model": {"type": "BPE", "ignore_merges": False, **model},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_]},
    }


def test_split_patterns_are_recognised_letter_by_letter() -> None:
    assert recognise_pre_tokenizer(bpe()).name == "qwen2"
    assert recognise_pre_tokenizer(bpe() | {"normalizer": {"type": "NFC"}}).name == "qwen2"
    assert recognise_pre_tokenizer(bpe(LLAMA3_PATTERN, ignore_merges=True)).name == "llama-bpe"


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (bpe(QWEN2_PATTERN + "|x"), "none that GGUF can name"),
        (bpe() | {"pre_tokenizer": None}, "none that GGUF can name"),
        (bpe() | {"pre_tokenizer": {"type": "ByteLevel"}}, "none that GGUF can name"),
        (bpe(ignore_merges=True), "ignore_merges to false"),
        (bpe(LLAMA3_PATTERN), "ignore_merges to true"),
        (bpe(type="Unigram"), "'Unigram' tokenizer"),
        (bpe() | {"normalizer": {"type": "Lowercase"}}, "normaliser 'Lowercase'"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_cut_otherwise_is_refused(
    tokenizer: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        recognise_pre_tokenizer(tokenizer)


def test_more_tokens_than_rows_are_refused(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model("Qwen3", vocab_size=300, head_dim=32)
    with pytest.raises(ConfigError, match="only 300 rows"):
        export(folder, tmp_path / "m.gguf")


def facts(**changes: Any) -> CardFacts:
    stage = CardStage(
        name="stage 0, language model",
        tokens_seen=2_000_000,
        train_loss=3.5,
        heldout_loss=None,
        heldout_perplexity=None,
    )
    settings: dict[str, Any] = {
        "name": "tiny",
        "architecture": "Qwen3",
        "parameters": 1_000_000,
        "context": 2048,
        "vocabulary": 8192,
        "languages": ("zh",),
        "licence": "CC0-1.0",
        "recipe": "trainers/recipes/tiny-cpu.yaml",
        "date": "2026-11-22",
        "file": "tiny.gguf",
        "size_bytes": 7_676_096,
        "sha256": "ab" * 32,
        "quantization": "q8_0",
        "sources": (CardSource(name="a|b", origin="example.org", licence="MIT"),),
        "stages": (stage,),
        **changes,
    }
    return CardFacts(**settings)


def test_the_card_states_the_figures_and_what_was_not_measured() -> None:
    card = render_card(facts())
    assert "7,676,096 bytes (7.7 MB)" in card
    assert "| a\\|b | example.org | MIT | the publisher's, in the repository named |" in card
    assert (
        "| stage 0, language model | 2,000,000 | 3.500 | not measured | not measured "
        "| not measured |" in card
    )
    assert "In all 2.0 tokens a parameter" in card
    assert "in valid format: not measured." in card
    assert "Agreement: not measured." in card
    for warning in ("demonstration and test model", "zh only", "Not clinical", "Labels are weak"):
        assert warning in card


def test_the_card_tells_how_the_file_compares(tmp_path: Path) -> None:
    gap = Difference(prompt=1, position=0, expected=5, got=6, top_two_gap=0.009, chosen_gap=0.012)
    report = VerifyReport(
        file="tiny.gguf",
        quantization="q8_0",
        cache="f16",
        prompts=20,
        new_tokens=64,
        differences=(gap,),
        close_call=0.1,
        largest_logit_error=0.17,
        median_top_two_gap=0.98,
        perplexity=Perplexity(tokens=6138, transformers=100.0, llama_cpp=100.5),
        tokenizer_texts=16,
        tokenizer_mismatches=(),
        forged_controls=(),
    )
    assert report.is_ok
    assert not report.model_copy(update={"close_call": 0.01}).is_ok
    assert not report.model_copy(update={"quantization": "f32"}).is_ok
    assert not report.model_copy(update={"forged_controls": ("emoji",)}).is_ok
    share = FormatShare(valid=9, total=10, settings="greedy")
    stage = facts().stages[0].model_copy(update={"hours": 1.5, "tokens_per_second": 2500.0})
    out = write_card(
        facts(verifications=(report,), format_share=share, stages=(stage,), notes=("A note.",)),
        tmp_path / "models" / "MODEL_CARD.md",
    )
    card = out.read_text()
    assert "19 of 20 prompts give the same 64 greedy tokens" in card
    assert "at most 0.012 logits (the median gap of its best two is 0.98)" in card
    assert "perplexity 100.500 against 100.000 (+0.500%) on 6,138 held-out tokens" in card
    assert "tokenizers agree on 16 of 16 probe texts" in card
    assert "9 of 10 free single-pass generations (90%) were in valid format (greedy)" in card
    assert "1.5 h, 2,500 tokens/s" in card
    assert "- A note." in card
    assert [one.name for one in out.parent.iterdir()] == ["MODEL_CARD.md"]


def test_a_recipes_licence_line_says_on_whose_word_it_is() -> None:
    line = CardSource.from_recipe(
        Source(name="a/b", origin="o", licence="CC0-1.0 (the publisher's word; from posts)")
    )
    assert (line.licence, line.on_whose_word) == ("CC0-1.0", "the publisher's word; from posts")
    assert (
        "in the repository named"
        in CardSource.from_recipe(Source(name="a/b", origin="o", licence="MIT")).on_whose_word
    )
