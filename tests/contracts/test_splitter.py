"""Streams cut anywhere: what comes out does not depend on where they were cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from empathy_agent.segments import ALL_TAGS, TAG
from empathy_agent.splitter import (
    Part,
    SplitEvent,
    StopScanner,
    TranscriptSplitter,
    Utf8Stream,
)
from empathy_agent.transcript import parse_lenient, render_text
from empathy_agent.vocabulary import LAYERS

bits = st.sampled_from(
    [
        *ALL_TAGS,
        "</l1>",
        "<ANSWER>",
        "< L2 >",
        "<L",
        "</ans",
        "wer>",
        "<",
        ">",
        "/",
        "\n",
        "好",
        " ",
    ]
)
streams = st.lists(st.one_of(bits, st.text(max_size=4)), max_size=20).map("".join)
contents = st.text(min_size=1).filter(lambda text: bool(text.strip()) and not TAG.search(text))


def cut(text: str, borders: list[int]) -> list[str]:
    places = sorted({0, len(text), *(border % (len(text) + 1) for border in borders)})
    return [text[start:end] for start, end in pairwise(places)]


def split(pieces: list[str]) -> list[SplitEvent]:
    splitter = TranscriptSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return [*events, *splitter.close()]


def joined(events: list[SplitEvent]) -> list[tuple[str, Part, str]]:
    """Return the events with neighbouring deltas merged."""
    merged: list[tuple[str, Part, str]] = []
    for event in events:
        if merged and event.kind == "delta" == merged[-1][0]:
            merged[-1] = ("delta", event.part, merged[-1][2] + event.text)
        else:
            merged.append((event.kind, event.part, event.text))
    return merged


@given(streams, st.lists(st.integers(0, 400), max_size=12))
@example(text="<L1><L1>a</L1>", borders=[])
@example(text="a< / answer >", borders=[2, 3, 4, 5])
def test_the_events_do_not_depend_on_how_the_stream_is_cut(text: str, borders: list[int]) -> None:
    whole = joined(split([text]))
    assert joined(split(cut(text, borders))) == whole
    assert joined(split(list(text))) == whole


@given(st.tuples(contents, contents, contents, contents), contents, st.lists(st.integers(0, 400)))
def test_a_well_formed_stream_gives_what_the_lenient_parse_gives(
    texts: tuple[str, str, str, str], answer: str, borders: list[int]
) -> None:
    layers = dict(zip(LAYERS, texts, strict=True))
    text = render_text(layers, answer)
    found: dict[Part, str] = {}
    for event in split(cut(text, borders)):
        found[event.part] = found.get(event.part, "") + event.text
    expected: dict[Part, str] = {"answer": answer}
    for name in LAYERS:
        expected[name] = layers[name]
    assert found == expected
    parsed = parse_lenient(text)
    assert parsed.answer == found.pop("answer").strip()
    assert parsed.layers == {part: content.strip() for part, content in found.items()}


@given(streams)
def test_every_part_opens_before_its_text_and_closes_after_it(text: str) -> None:
    open_part: Part | None = None
    for event in split([text]):
        if event.kind == "open":
            assert open_part is None
            open_part = event.part
        else:
            assert event.part == open_part
            assert bool(event.text) == (event.kind == "delta")
            open_part = None if event.kind == "close" else open_part
    assert open_part is None


def test_text_flows_before_its_part_is_closed() -> None:
    splitter = TranscriptSplitter()
    assert splitter.feed("<answer>我在") == [
        SplitEvent("open", "answer"),
        SplitEvent("delta", "answer", "我在"),
    ]
    assert splitter.feed("这里</ans") == [SplitEvent("delta", "answer", "这里")]
    assert splitter.feed("wer>") == [SplitEvent("close", "answer")]
    assert splitter.close() == []


def test_only_what_may_become_a_tag_is_withheld() -> None:
    splitter = TranscriptSplitter(inside="answer")
    assert splitter.feed("3 <") == [
        SplitEvent("open", "answer"),
        SplitEvent("delta", "answer", "3 "),
    ]
    assert splitter.feed("4 <3 ") == [SplitEvent("delta", "answer", "<4 <3 ")]
    assert splitter.feed("</L") == []
    assert splitter.close() == [
        SplitEvent("delta", "answer", "</L"),
        SplitEvent("close", "answer"),
    ]


def test_the_caller_may_have_written_the_opening_tag_itself() -> None:
    splitter = TranscriptSplitter(inside="emotion")
    events = [*splitter.feed("焦虑。</L1><answer>好</answer>"), *splitter.close()]
    assert joined(events) == [
        ("open", "emotion", ""),
        ("delta", "emotion", "焦虑。"),
        ("close", "emotion", ""),
        ("open", "answer", ""),
        ("delta", "answer", "好"),
        ("close", "answer", ""),
    ]


@given(st.text(), st.lists(st.integers(0, 400), max_size=12))
def test_bytes_cut_inside_a_character_decode_to_the_same_text(
    text: str, borders: list[int]
) -> None:
    data = text.encode()
    places = sorted({0, len(data), *(border % (len(data) + 1) for border in borders)})
    stream = Utf8Stream()
    pieces = [stream.feed(data[a:b]) for a, b in pairwise(places)]
    assert "".join([*pieces, stream.close()]) == text


def test_an_unfinished_character_becomes_a_replacement() -> None:
    stream = Utf8Stream()
    assert stream.feed("好".encode()[:2]) == ""
    assert stream.close() == "\ufffd"


stops_lists = st.lists(st.text("ab<", max_size=4), max_size=4)


def scan(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    scanner = StopScanner(stops)
    released = ""
    for piece in pieces:
        text, stopped = scanner.feed(piece)
        released += text
        assert stopped == (scanner.stop is not None)
    return released + scanner.flush(), scanner.stop


@given(stops_lists, st.text("ab<c", max_size=20), st.lists(st.integers(0, 30), max_size=6))
@example(stops=["abab", "ba"], text="abab", borders=[])
def test_stopping_does_not_depend_on_how_the_stream_is_cut(
    stops: list[str], text: str, borders: list[int]
) -> None:
    whole = scan(stops, [text])
    assert scan(stops, cut(text, borders)) == whole
    assert scan(stops, list(text)) == whole
    assert not any(stop and stop in whole[0] for stop in stops)
    assert text.startswith(whole[0])
    assert whole[1] is not None or whole[0] == text


def test_what_may_begin_a_stop_string_is_withheld_until_it_is_decided() -> None:
    scanner = StopScanner(["</L1>", "<answer>"])
    assert scanner.feed("好<") == ("好", False)
    assert scanner.feed("/L") == ("", False)
    assert scanner.feed("2><ans") == ("</L2>", False)
    assert scanner.feed("wer>x") == ("", True)
    assert scanner.stop == "<answer>"
    assert scanner.feed("y") == ("", True)
    assert scanner.flush() == ""


def test_without_stop_strings_everything_is_released() -> None:
    assert StopScanner([]).feed("</L1>") == ("</L1>", False)
