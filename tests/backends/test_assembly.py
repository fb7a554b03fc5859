"""Assembly: text and ids of a completion, however tokens and characters are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.backends.assembly import Assembly
from empathy_agent.backends.requests import Delta

_STOPS = ("</L1>", "</答>")


def _tokenize(text: str) -> tuple[int, ...]:
    """Return one id per byte; ids of whole tokens in these tests are 1000 and up."""
    return tuple(text.encode())


def _feed(
    pieces: list[bytes], stops: tuple[str, ...], *, keep_held: bool = True
) -> tuple[list[Delta], bool, Assembly]:
    assembly, deltas = Assembly(stops, _tokenize), list[Delta | None]()
    for index, piece in enumerate(pieces):
        delta, has_stopped = assembly.push(1000 + index, piece)
        deltas.append(delta)
        if has_stopped:
            return [one for one in deltas if one], True, assembly
    deltas.append(assembly.finish(keep_held=keep_held))
    return [one for one in deltas if one], False, assembly


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(borders)]


def _spell(ids: tuple[int, ...], pieces: list[bytes]) -> bytes:
    return b"".join(pieces[one - 1000] if one >= 1000 else bytes([one]) for one in ids)


@given(st.text("ab好<>/L1答😀"), st.lists(st.integers(0, 200)), st.booleans())
def test_text_ends_at_the_stop_and_ids_spell_the_text(
    text: str, places: list[int], has_stop: bool
) -> None:
    whole = f"{text}</L1>rest" if has_stop else text
    pieces = _cut(whole.encode(), places)
    deltas, has_stopped, assembly = _feed(pieces, _STOPS)
    expected = min((whole.split(stop)[0] for stop in _STOPS), key=len)
    assert has_stopped == any(stop in whole for stop in _STOPS)
    assert assembly.text == expected
    assert _spell(assembly.ids, pieces) == expected.encode()
    assert "".join(one.text for one in deltas) == expected
    assert sum((one.ids for one in deltas), ()) == assembly.ids


def test_a_delta_never_splits_a_character() -> None:
    pieces = [bytes([byte]) for byte in "好😀".encode()]
    deltas, _, assembly = _feed(pieces, ())
    assert [one.text for one in deltas] == ["好", "😀"]
    assert assembly.ids == tuple(range(1000, 1007))


def test_a_character_that_was_cut_off_is_dropped_with_its_token() -> None:
    _, _, assembly = _feed(["好".encode(), "好".encode()[:2]], ())
    assert (assembly.text, assembly.ids) == ("好", (1000,))


def test_a_token_that_ends_inside_a_character_keeps_its_whole_characters() -> None:
    _, _, assembly = _feed([b"a", "好".encode() + "好".encode()[:1]], ())
    assert (assembly.text, assembly.ids) == ("a好", (1000, *"好".encode()))


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    _, _, assembly = _feed([b"a", b"\xff", b"b"], ())
    assert (assembly.text, assembly.ids) == ("a\ufffdb", (1000, 1001, 1002))


def test_the_beginning_of_a_tag_is_dropped_at_the_budget_and_kept_otherwise() -> None:
    assert _feed([b"ok", b"</", b"L"], _STOPS, keep_held=False)[2].text == "ok"
    _, _, kept = _feed([b"ok", b"</", b"L"], _STOPS, keep_held=True)
    assert (kept.text, kept.ids) == ("ok</L", (1000, 1001, 1002))


def test_a_stop_inside_a_token_leaves_its_first_half() -> None:
    deltas, has_stopped, assembly = _feed(["好".encode(), "。</".encode(), b"L1>"], _STOPS)
    assert has_stopped
    assert assembly.text == "好。"
    assert assembly.ids == (1000, *"。".encode())
    assert [one.text for one in deltas] == ["好", "。", ""]
