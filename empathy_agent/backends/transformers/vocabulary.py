"""The tokens of a loaded tokenizer: text to ids, ids to bytes, and which of them are special.

Works on the `tokenizers` core alone. Every added token that is not blank is made special, so that
with specials off text can spell none of them, `<think>` of a model that adds it as an ordinary one
included. One core serves both ways of reading, switched under a lock, from any thread.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from typing import Any

from empathy_agent.backends.quotes import PieceIndex
from empathy_agent.errors import BackendError, BackendUnavailable
from empathy_agent.segments import ALL_TAGS

_PROBE = "我今天有点难过，I'm not sure why… 1234\n\n　“嗯”🙂 don't"
"""Tokenised into the fingerprint: two vocabularies with equal tokens may still merge otherwise."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """The tokens of one model.

    Args:
        tokenizer: A transformers tokenizer over a `tokenizers` core, which is changed.
        rows: How many tokens the model has embeddings for.

    Raises:
        BackendUnavailable: It has no such core, or one whose tokens have no fixed bytes.
    """

    def __init__(self, tokenizer: Any, rows: int) -> None:  # noqa: ANN401
        core = getattr(tokenizer, "backend_tokenizer", None)
        if core is None or not hasattr(core, "encode_special_tokens"):
            raise BackendUnavailable(
                "the model has no tokenizer.json; save one with it, or use its GGUF with llama.cpp"
            )
        self._core = core
        self._lock = threading.Lock()
        self._is_closed = False
        self.rows = rows
        """How many tokens the model has embeddings for."""
        core.no_truncation()
        core.no_padding()
        added = core.get_added_tokens_decoder()
        named = [one for one in added.values() if one.content.strip()]
        core.add_special_tokens([_as_special(one) for one in named])
        self._added: dict[int, bytes] = {
            number: one.content.encode() for number, one in added.items()
        }
        self._specials = {number for number, one in added.items() if one.content.strip()}
        self.special_strings: tuple[str, ...] = tuple(one.content for one in named)
        """The texts of all special tokens that are not blank."""
        tokens: dict[str, int] = core.get_vocab(with_added_tokens=True)
        self._texts = {number: text for text, number in tokens.items()}
        self.size: int = min(max(self._texts) + 1, rows)
        """How many ids there are, those without a token included."""
        self._spell: Callable[[str], bytes] = _spelling(json.loads(core.to_str()).get("decoder"))
        self._index: PieceIndex | None = None
        self.bos: str = tokenizer.bos_token or ""
        """The text of the token that begins a sequence, if there is one."""
        self.eos: str = tokenizer.eos_token or ""
        """The text of the token that ends a sequence, if there is one."""
        self.adds_bos = bool(self.bos) and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]
        """Whether every prompt of this model begins with `bos`."""
        spelled = b"".join(map(self.piece, self.tokenize("a", is_control=False)))
        self.has_exact_borders = spelled == b"a"
        """Whether segments are tokenised as they are; some put a space before each."""
        self.has_control_tags = self._has_control_tags()
        """Whether our tags are special tokens and nothing special can be forged by text."""
        self.fingerprint = self._fingerprint()
        """A hash of the tokens, which of them are special, and how they merge."""

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        """Return the ids of `text`, special strings as special tokens only where `is_control`.

        Raises:
            BackendUnavailable: The backend is closed.
            BackendError: A token is none of the model's.
        """
        text = text.encode("utf-8", "replace").decode()  # the core refuses lone surrogates
        with self._lock:
            if self._is_closed:
                raise BackendUnavailable("the backend is closed; open a new one")
            self._core.encode_special_tokens = not is_control
            ids: list[int] = self._core.encode(text, add_special_tokens=False).ids
        if ids and max(ids) >= self.rows:
            raise BackendError(
                "the tokenizer has tokens that the model has no embedding for; they do not belong "
                "together"
            )
        return tuple(ids)

    def piece(self, token: int) -> bytes:
        """Return the bytes of `token`, special tokens shown; none for an id without a token."""
        if token in self._added:
            return self._added[token]
        text = self._texts.get(token)
        return b"" if text is None else self._spell(text)

    def piece_index(self) -> PieceIndex:
        """Return the ordinary tokens by their bytes, built once; for one thread only."""
        if self._index is None:
            ordinary = self._texts.keys() - self._specials
            self._index = PieceIndex(
                {token: self.piece(token) for token in sorted(ordinary) if token < self.size}
            )
        return self._index

    def control_token(self, text: str) -> int | None:
        """Return the one special token that spells `text`, if there is one."""
        ids = self.tokenize(text, is_control=True)
        if len(ids) == 1 and ids[0] in self._specials and self.piece(ids[0]) == text.encode():
            return ids[0]
        return None

    def close(self) -> None:
        """Refuse further calls."""
        with self._lock:
            self._is_closed = True

    def _has_control_tags(self) -> bool:
        # Some vocabularies (Unigram) spell a special token's text with that very token.
        for text in self.special_strings:
            number = self._core.token_to_id(text)
            if number in self.tokenize(text, is_control=False):
                return False
        return all(self.control_token(tag) is not None for tag in ALL_TAGS)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for number, text in sorted(self._texts.items()):
            data = text.encode()
            digest.update(b"%d %d %d %s\n" % (number, number in self._specials, len(data), data))
        digest.update(repr(self.tokenize(_PROBE, is_control=False)).encode())
        return digest.hexdigest()[:16]


def _as_special(token: Any) -> Any:  # noqa: ANN401
    from tokenizers import AddedToken

    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=True,
    )


def _spelling(decoder: Any) -> Callable[[str], bytes]:  # noqa: ANN401
    """Return how a token's text spells its bytes, by the tokenizer's decoder as JSON.

    Raises:
        BackendUnavailable: The decoder is none of those that leave each token its bytes.
    """
    parts = [] if decoder is None else decoder.get("decoders", [decoder])
    kinds = {part["type"]: part for part in parts}
    if "ByteLevel" in kinds:
        return _spell_byte_letters
    has_bytes = "ByteFallback" in kinds
    if "Metaspace" in kinds:
        space = kinds["Metaspace"]["replacement"]
    elif "Replace" in kinds and kinds["Replace"]["content"] == " ":
        space = kinds["Replace"]["pattern"]["String"]
    elif has_bytes:
        space = " "
    else:
        raise BackendUnavailable(
            "the tokenizer is neither byte-level nor SentencePiece's, so its tokens have no fixed "
            "bytes; use a model of another family"
        )

    def spell(text: str) -> bytes:
        if has_bytes and (found := _BYTE.fullmatch(text)):
            return bytes([int(found[1], 16)])
        return text.replace(space, " ").encode()

    return spell


def _byte_letters() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for.

    Source: `bytes_to_unicode` in https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + index): byte for index, byte in enumerate(others)}


_LETTERS = _byte_letters()


def _spell_byte_letters(text: str) -> bytes:
    try:
        return bytes([_LETTERS[letter] for letter in text])
    except KeyError:  # a token that was put in as plain text
        return text.encode()
