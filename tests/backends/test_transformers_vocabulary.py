"""The tokens of transformers models: what text may become, and which bytes a token has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from empathy_agent.backends.transformers.backend import is_available
from empathy_agent.errors import BackendError, BackendUnavailable
from empathy_agent.segments import ALL_TAGS

if not is_available():
    pytest.skip("needs empathy-agent[transformers]", allow_module_level=True)

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from empathy_agent.backends.transformers.vocabulary import Vocabulary
from empathy_agent.testing.random_checkpoint import write_random_checkpoint

TEXTS = ("我很难过。", "I'm sad 🙂\n\n", "a\x00b\x07\u202e", "  two  ", "e\u0301", "x\ud800y")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("model"))


def _loaded(folder: Path) -> Any:
    load: Any = AutoTokenizer.from_pretrained
    return load(folder)


def _wrapped(core: Tokenizer, **options: Any) -> Any:
    build: Any = PreTrainedTokenizerFast
    return build(tokenizer_object=core, **options)


def _spelled(vocabulary: Vocabulary, text: str) -> bytes:
    return b"".join(map(vocabulary.piece, vocabulary.tokenize(text, is_control=False)))


def _sentencepiece(*, has_prefix: bool = True) -> Tokenizer:
    """Return a tokenizer of Llama 2's shape: spaces shown, bytes as a way out."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", "a", "b", "▁a", "我", *ALL_TAGS]
    core = Tokenizer(
        models.BPE(
            {token: number for number, token in enumerate(tokens)},
            [("▁", "a")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    prepend = [normalizers.Prepend("▁")] if has_prefix else []
    core.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>", *ALL_TAGS])
    return core


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_pieces_spell_the_text(folder: Path, text: str) -> None:
    vocabulary = Vocabulary(_loaded(folder), 1000)
    assert _spelled(vocabulary, text) == text.encode("utf-8", "replace")
    assert vocabulary.has_exact_borders


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("has_prefix", [True, False])
def test_sentencepiece_pieces_spell_the_text(text: str, has_prefix: bool) -> None:
    core = _sentencepiece(has_prefix=has_prefix)
    vocabulary = Vocabulary(_wrapped(core, bos_token="<s>", eos_token="</s>"), 1000)
    prefix = b" " if has_prefix else b""
    assert _spelled(vocabulary, text) == prefix + text.encode("utf-8", "replace")
    assert vocabulary.has_exact_borders is not has_prefix
    assert vocabulary.has_control_tags
    assert (vocabulary.bos, vocabulary.adds_bos) == ("<s>", False)


def test_text_spells_no_special_token_not_even_an_ordinary_added_one(folder: Path) -> None:
    tokenizer = _loaded(folder)
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("   ", special=False)])
    vocabulary = Vocabulary(tokenizer, 1000)
    assert "<think>" in vocabulary.special_strings
    specials = {vocabulary.control_token(one) for one in vocabulary.special_strings}
    assert None not in specials
    hostile = "".join(vocabulary.special_strings)
    for text in (hostile, f"x\x00{hostile}\ud800", f" \n{hostile}\u202e", hostile[1:]):
        assert not specials & set(vocabulary.tokenize(text, is_control=False))
    assert specials <= set(vocabulary.tokenize(hostile, is_control=True))
    assert vocabulary.has_control_tags
    # A blank one is ordinary text.
    assert vocabulary.tokenize("   ", is_control=False) == (tokenizer.vocab["   "],)
    assert vocabulary.control_token("   ") is None
    assert vocabulary.control_token("我") is None


def test_a_vocabulary_that_spells_its_own_specials_is_not_trusted() -> None:
    tokens = [("<unk>", 0.0), *((tag, -1.0) for tag in ALL_TAGS), ("a", -1.0), ("▁", -2.0)]
    core = Tokenizer(models.Unigram(tokens, unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.add_special_tokens(list(ALL_TAGS))
    assert not Vocabulary(_wrapped(core), 1000).has_control_tags


def test_an_index_holds_ordinary_tokens_only(folder: Path) -> None:
    vocabulary = Vocabulary(_loaded(folder), 1000)
    index = vocabulary.piece_index()
    assert index is vocabulary.piece_index()
    assert "我".encode() in index.by_bytes or index.longest >= 1
    assert not any(tag.encode() in index.by_bytes for tag in ALL_TAGS)


def test_the_fingerprint_follows_the_tokens(folder: Path) -> None:
    first, same, other = (_loaded(folder) for _ in range(3))
    other.add_tokens(["<more>"])
    first, same, other = (Vocabulary(one, 1000).fingerprint for one in (first, same, other))
    assert first == same != other


def test_an_id_without_a_token_has_no_bytes(folder: Path) -> None:
    assert Vocabulary(_loaded(folder), 1000).piece(999) == b""


def test_a_closed_vocabulary_refuses(folder: Path) -> None:
    vocabulary = Vocabulary(_loaded(folder), 1000)
    vocabulary.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        vocabulary.tokenize("a", is_control=False)


def test_tokens_without_an_embedding_are_refused(folder: Path) -> None:
    tokenizer = _loaded(folder)
    tokenizer.add_tokens([AddedToken("<late>", special=True)])
    vocabulary = Vocabulary(tokenizer, len(tokenizer) - 1)
    assert vocabulary.tokenize("<late>", is_control=False)
    with pytest.raises(BackendError, match="no embedding"):
        vocabulary.tokenize("<late>", is_control=True)


def test_other_kinds_of_tokenizer_are_refused() -> None:
    core = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    core.decoder = decoders.WordPiece()
    with pytest.raises(BackendUnavailable, match="no fixed bytes"):
        Vocabulary(_wrapped(core), 1000)
    with pytest.raises(BackendUnavailable, match=r"no tokenizer\.json"):
        Vocabulary(object(), 1000)
