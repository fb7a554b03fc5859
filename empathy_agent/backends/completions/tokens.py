"""How text becomes token ids, or at least a count: a tokenizer file, the server's own, or a guess.

A tokenizer file and llama-server tell specials from text that only looks like them; vLLM and
SGLang read specials out of every text, so there text is escaped as it is without ids. Answers are
kept by a digest of the text, never by the text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from empathy_agent.errors import BackendUnavailable, ConfigError
from empathy_agent.segments import ALL_TAGS

Ids = tuple[int, ...]

_REMEMBERED = 1024


@dataclass(frozen=True)
class Traits:
    """What is known of a tokenizer."""

    digest: str = ""
    bos: str = ""
    """The token that begins every prompt, where there is one."""
    specials: tuple[str, ...] = ()
    has_control_tags: bool = False
    has_exact_borders: bool = False


class Tokens(Protocol):
    """Turns text into ids; every method runs in the backend's loop."""

    traits: Traits
    spells: bool
    """Whether there are ids, or only counts."""
    is_exact: bool
    """Whether counts are counted or guessed."""

    async def ids(self, text: str, *, is_control: bool) -> Ids:
        """Return the ids of a segment."""

    async def count(self, text: str) -> int:
        """Return the tokens of a whole prompt."""

    def agreeing(self, ids: Ids, text: str) -> tuple[Ids, str]:
        """Return the most of the server's `ids` that spell the beginning of `text`, and the rest."""

    def forget(self) -> None:
        """Drop what is remembered."""


class Guess:
    """Counts where nothing is known: rather too many, so that what fits here fits there."""

    traits = Traits()
    spells = False
    is_exact = False

    async def ids(self, text: str, *, is_control: bool) -> Ids:
        """Never asked: there are no ids."""
        raise NotImplementedError

    async def count(self, text: str) -> int:
        """Guess: 3 ASCII characters a token, 3 tokens for 2 others, 4 for each emoji."""
        ascii_count = sum(one < "\x80" for one in text)
        rare = sum(one > "\uffff" for one in text)
        return -(-ascii_count // 3) + -(-3 * (len(text) - ascii_count - rare) // 2) + 4 * rare

    def agreeing(self, ids: Ids, text: str) -> tuple[Ids, str]:
        """Agree with nothing."""
        return (), text

    def forget(self) -> None:
        """Nothing is remembered."""


class LocalTokens:
    """A `tokenizer.json` beside us.

    Raises:
        BackendUnavailable: The file or the `tokenizers` library is missing, or it does not load.
    """

    spells = True
    is_exact = True

    def __init__(self, path: Path) -> None:
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError:
            raise BackendUnavailable(
                "a tokenizer file needs tokenizers; install `empathy-agent[endpoint]`"
            ) from None
        if not file.is_file():
            raise BackendUnavailable(f"there is no tokenizer.json at {str(path)!r}")
        try:
            self._control, self._content = (Tokenizer.from_file(str(file)) for _ in range(2))
        except Exception as error:
            kind = type(error).__name__
        else:
            kind = ""
        if kind:
            raise BackendUnavailable(f"{str(file)!r} does not load ({kind})")
        for one in (self._control, self._content):
            one.no_padding()
            one.no_truncation()
        self._content.encode_special_tokens = True
        self.traits = self._traits(file)

    def _traits(self, file: Path) -> Traits:
        added = list(self._control.get_added_tokens_decoder().values())
        special = {one.content for one in added if one.special}
        bare = self._encode("a", is_control=True)
        dressed = tuple(self._control.encode("a").ids)
        lead = dressed[: -len(bare)] if dressed[-len(bare) :] == bare else ()
        pieces = ("好", "\n", " a", "a")
        joined = tuple(one for piece in pieces for one in self._encode(piece, is_control=False))
        return Traits(
            digest=hashlib.sha256(file.read_bytes()).hexdigest(),
            bos="".join(self._control.id_to_token(one) or "" for one in lead),
            specials=tuple(sorted({one.content for one in added})),
            has_control_tags=special.issuperset(ALL_TAGS),
            has_exact_borders=self._decode(joined) == "".join(pieces),
        )

    def _encode(self, text: str, *, is_control: bool) -> Ids:
        tokenizer = self._control if is_control else self._content
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._control.decode(list(ids), skip_special_tokens=False)

    async def ids(self, text: str, *, is_control: bool) -> Ids:
        """Return the ids of a segment."""
        return self._encode(text, is_control=is_control)

    async def count(self, text: str) -> int:
        """Return the tokens of a whole prompt, as a server reads it."""
        return len(self._control.encode(text).ids)

    def agreeing(self, ids: Ids, text: str) -> tuple[Ids, str]:
        """Return the most of `ids` that spell the beginning of `text`, and the rest of it."""
        for end in range(len(ids), 0, -1):
            spelled = self._decode(ids[:end])
            if spelled and text.startswith(spelled):
                return ids[:end], text[len(spelled) :]
        return (), text

    def forget(self) -> None:
        """Nothing is remembered."""


Ask = Callable[[str, bool], Awaitable[Ids]]
"""Asks the server for the ids of a text; True for a control segment."""


class RemoteTokens:
    """The tokenizer of the server itself.

    Args:
        ask: Brings the ids of a text.
        spells: Whether they are the segment's own; otherwise they are only counted, as of a whole
            prompt.
        traits: What the probe found out.
    """

    is_exact = True

    def __init__(self, ask: Ask, traits: Traits, *, spells: bool) -> None:
        self._ask = ask
        self.traits = traits
        self.spells = spells
        self._known: OrderedDict[bytes, Ids | int] = OrderedDict()

    async def ids(self, text: str, *, is_control: bool) -> Ids:
        """Return the ids of a segment."""
        known = await self._remember(text, is_control, lambda ids: ids)
        return known if isinstance(known, tuple) else ()

    async def count(self, text: str) -> int:
        """Return the tokens of a whole prompt."""
        known = await self._remember(text, True, len)
        return known if isinstance(known, int) else len(known)

    async def _remember(
        self, text: str, is_control: bool, keep: Callable[[Ids], Ids | int]
    ) -> Ids | int:
        if not text:
            return ()
        salt = b"\1" if is_control else b"\0"
        key = hashlib.blake2b(salt + text.encode(), digest_size=16).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = self._known[key] = keep(await self._ask(text, is_control))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def agreeing(self, ids: Ids, text: str) -> tuple[Ids, str]:
        """Agree with nothing: what ids spell is not known here."""
        return (), text

    def forget(self) -> None:
        """Drop what is remembered."""
        self._known.clear()


def token_list(found: Any) -> Ids:  # noqa: ANN401
    """Return the ids in a server's answer."""
    tokens = found.get("tokens") if isinstance(found, dict) else None
    if not isinstance(tokens, list) or any(type(one) is not int for one in tokens):
        raise BackendUnavailable(
            "the server's tokenizer answers in another shape; name 'tokenizer'"
        )
    return tuple(tokens)


def check_same(local: Ids, remote: Ids) -> None:
    """Refuse a tokenizer file that is not the served model's.

    Raises:
        ConfigError: The two differ.
    """
    if local != remote:
        raise ConfigError("'tokenizer' is not the one of the model that is served; name its own")
