"""The tokens of a loaded model: text to ids, ids to bytes, and which of them are special.

Text is tokenised under a lock, from any thread, so that closing the model cannot pull it away.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from typing import Any

from empathy_agent.backends.llama_cpp.library import load_library
from empathy_agent.backends.quotes import PieceIndex
from empathy_agent.errors import BackendUnavailable
from empathy_agent.segments import ALL_TAGS

# Source: `enum llama_token_attr` in llama.h.
_UNKNOWN, _CONTROL, _USER_DEFINED = 1 << 1, 1 << 3, 1 << 4
_SPECIAL = _UNKNOWN | _CONTROL | _USER_DEFINED
_SPM = 1  # LLAMA_VOCAB_TYPE_SPM
_PROBE = "我今天有点难过，I'm not sure why… 1234\n\n　“嗯”🙂 don't"
"""Tokenised into the fingerprint: two vocabularies with equal tokens may still merge otherwise."""


class Vocabulary:
    """The tokenizer of one model.

    Args:
        model: The model pointer; `close` must be called before it is freed.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self._library = load_library()
        self._model = model
        self._vocab = self._library.llama_model_get_vocab(model)
        self._lock = threading.Lock()
        self._pieces: dict[int, bytes] = {}
        self._index: PieceIndex | None = None
        self._buffer = ctypes.create_string_buffer(1024)
        self.size: int = self._library.llama_vocab_n_tokens(self._vocab)
        """How many tokens there are."""
        tokens = range(self.size)
        self._kinds = [self._library.llama_vocab_get_attr(self._vocab, token) for token in tokens]
        texts = [self._library.llama_vocab_get_text(self._vocab, token) for token in tokens]
        self.special_strings = self._special_strings(texts)
        """The texts of all special tokens that are not blank."""
        self.fingerprint = self._fingerprint(texts)
        """A hash of the tokens, their kinds and how they merge."""
        self.end_tokens = self._end_tokens()
        """The tokens with which the model ends its turn."""
        self.has_control_tags = self._has_control_tags(texts)
        """Whether our tags are CONTROL tokens and nothing special can be forged by text."""

    def tokenize(self, text: str, *, is_control: bool) -> tuple[int, ...]:
        """Return the ids of `text`, special strings as special tokens only where `is_control`."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 16
        with self._lock:
            if self._vocab is None:
                raise BackendUnavailable("the backend is closed; open a new one")
            while True:
                ids = (ctypes.c_int32 * size)()
                count = self._library.llama_tokenize(
                    self._vocab, data, len(data), ids, size, False, is_control
                )
                if count >= 0:
                    return tuple(ids[:count])
                size = -count

    def piece(self, token: int) -> bytes:
        """Return the bytes of `token`, special tokens shown; for one thread only."""
        known = self._pieces.get(token)
        if known is None:
            length = self._library.llama_token_to_piece(
                self._vocab, token, self._buffer, len(self._buffer), 0, True
            )
            if length < 0:
                self._buffer = ctypes.create_string_buffer(-length)
                return self.piece(token)
            known = self._pieces[token] = self._buffer.raw[:length]
        return known

    def piece_index(self) -> PieceIndex:
        """Return the ordinary tokens by their bytes, built once; for one thread only."""
        if self._index is None:
            ordinary = (one for one, kind in enumerate(self._kinds) if not kind & _SPECIAL)
            self._index = PieceIndex({token: self.piece(token) for token in ordinary})
        return self._index

    def control_token(self, text: str) -> int | None:
        """Return the one CONTROL token that spells `text`, if there is one."""
        ids = self.tokenize(text, is_control=True)
        if len(ids) == 1 and self._kinds[ids[0]] & _CONTROL:
            return ids[0] if self.piece(ids[0]) == text.encode() else None
        return None

    def close(self) -> None:
        """Refuse further calls; the model may be freed now."""
        with self._lock:
            self._vocab = None

    @property
    def has_exact_borders(self) -> bool:
        """Whether segments are tokenised as they are; SentencePiece puts a space before each."""
        if self._library.llama_vocab_type(self._vocab) != _SPM:
            return True
        return self.metadata("tokenizer.ggml.add_space_prefix") == "false"

    @property
    def bos(self) -> str:
        """The text of the token that begins a sequence, if there is one."""
        return self._text(self._library.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        """The text of the token that ends a sequence, if there is one."""
        return self._text(self._library.llama_vocab_eos(self._vocab))

    @property
    def adds_bos(self) -> bool:
        """Whether every prompt of this model begins with `bos`."""
        return bool(self._library.llama_vocab_get_add_bos(self._vocab))

    def metadata(self, key: str) -> str | None:
        """Return a scalar of the model file's metadata as text."""
        name, buffer = key.encode(), ctypes.create_string_buffer(256)
        length = self._library.llama_model_meta_val_str(self._model, name, buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    def _text(self, token: int) -> str:
        return "" if token < 0 else self.piece(token).decode("utf-8", "replace")

    def _special_strings(self, texts: list[bytes]) -> tuple[str, ...]:
        found = (
            text.decode("utf-8", "replace")
            for text, kind in zip(texts, self._kinds, strict=True)
            if kind & _SPECIAL
        )
        return tuple(text for text in found if text.strip())

    def _end_tokens(self) -> frozenset[int]:
        likely = {token for token, kind in enumerate(self._kinds) if kind & _SPECIAL}
        likely.add(self._library.llama_vocab_eos(self._vocab))
        likely.add(self._library.llama_vocab_eot(self._vocab))
        is_end = self._library.llama_vocab_is_eog
        return frozenset(one for one in likely if one >= 0 and is_end(self._vocab, one))

    def _has_control_tags(self, texts: list[bytes]) -> bool:
        # USER_DEFINED tokens are cut out of text even with specials off: one makes text unsafe.
        kinds = zip(texts, self._kinds, strict=True)
        if any(kind & _USER_DEFINED and text.strip() for text, kind in kinds):
            return False
        return all(self.control_token(tag) is not None for tag in ALL_TAGS)

    def _fingerprint(self, texts: list[bytes]) -> str:
        digest = hashlib.sha256()
        for text, kind in zip(texts, self._kinds, strict=True):
            digest.update(b"%d %d %s\n" % (kind, len(text), text))
        probe = self.tokenize(_PROBE, is_control=False)
        digest.update(repr((probe, self.metadata("tokenizer.ggml.pre"))).encode())
        return digest.hexdigest()[:16]
