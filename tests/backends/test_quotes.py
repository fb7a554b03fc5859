"""Quotes are held to the source, whatever the vocabulary and whatever the model would like."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from empathy_agent.backends.quotes import PieceIndex, QuoteGuide, Quotes

SOURCE = "他总是很晚才回消息，\n我觉得他不爱我了。今晚又是这样……🙂，don't ask"
MARKS = ("「", "」")


def vocabulary(words: list[str]) -> PieceIndex:
    """Every byte is a token, and so are `words`."""
    pieces = {byte: bytes([byte]) for byte in range(256)}
    pieces |= {256 + number: word.encode() for number, word in enumerate(words)}
    return PieceIndex(pieces)


def write(guide: QuoteGuide, index: PieceIndex, draw: random.Random, tokens: int) -> str:
    """Let a model without any sense write, guided; return its text up to the last whole quote."""
    pieces = {token: piece for piece, ids in index.by_bytes.items() for token in ids}
    data = "焦虑(3)「".encode()
    guide.push(data)
    for _ in range(tokens):
        allowed = guide.allowed()
        if allowed is None:
            return data.decode()
        assert allowed  # a quote can always go on or close
        token = draw.choice(allowed)
        guide.push(pieces[token])
        data += pieces[token]
    return ""


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10_000), st.lists(st.sampled_from(["他总是", "我", "」；", "。今晚", "爱我了"]))
)
def test_a_random_model_can_only_quote_the_source(seed: int, words: list[str]) -> None:
    index = vocabulary(sorted(set(words)))
    text = write(QuoteGuide(Quotes(SOURCE, MARKS), index), index, random.Random(seed), 200)
    quote = text.partition("「")[2].partition("」")[0]
    assert quote
    assert quote in SOURCE
    assert len(quote) <= 24


def test_outside_a_quote_everything_is_free_but_tokens_that_leap_into_one() -> None:
    index = vocabulary(["「我", "我"])
    guide = QuoteGuide(Quotes(SOURCE, MARKS), index)
    assert guide.allowed() is None
    assert guide.forbidden == [256]


def test_a_quote_does_not_cross_a_line_break_of_the_source() -> None:
    index = vocabulary([])
    guide = QuoteGuide(Quotes(SOURCE, MARKS), index)
    guide.push("「".encode())
    guide.push("他总是很晚才回消息，".encode())
    assert guide.allowed() == [0xE3]  # the first byte of the closing mark, and nothing else


def test_a_source_without_words_lets_the_quote_close_at_once() -> None:
    index = vocabulary([])
    guide = QuoteGuide(Quotes("…… \n", MARKS), index)
    guide.push("「".encode())
    assert guide.allowed() == [0xE3]


def test_a_second_quote_starts_anew() -> None:
    index = vocabulary(["我觉得他不爱我了", "今晚又是", "」；孤独(2)"])
    guide = QuoteGuide(Quotes(SOURCE, MARKS), index)
    guide.push("「".encode())
    guide.push("我觉得他不爱我了".encode())
    assert 258 in (guide.allowed() or [])
    guide.push("」；孤独(2)".encode())
    assert guide.allowed() is None
    guide.push("「".encode())
    assert 257 in (guide.allowed() or [])
    assert 256 not in (guide.allowed() or [])  # a clause is quoted once


def test_a_clause_is_quoted_once_even_if_the_mark_is_spelled_by_bytes() -> None:
    index = vocabulary(["我觉得他不爱我了"])
    guide = QuoteGuide(Quotes(SOURCE, MARKS), index)
    guide.push("「".encode())
    guide.push("我觉得他不爱我了".encode())
    for byte in "」；「".encode():
        guide.push(bytes([byte]))
    assert guide.allowed()
    assert 256 not in (guide.allowed() or [])


def test_english_quotes_open_and_close_with_one_mark() -> None:
    index = vocabulary(["don't", " ask"])
    guide = QuoteGuide(Quotes(SOURCE, ('"', '"')), index)
    guide.push(b'anxiety(3) "')
    guide.push(b"don't ask")
    assert ord('"') in (guide.allowed() or [])
    guide.push(b'"')
    assert guide.allowed() is None
