"""Long counselling texts: folding dialogues, screening sentences, splits by group.

Every dialogue here is invented.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.errors import TrainingDataError
from empathy_trainers.data.lct import LctRecord, Message, build_lct, iter_lct
from empathy_trainers.data.splits import Split, heldout_ids, split_of
from empathy_trainers.weak.screening import clean_seeker, clean_supporter, speaks_of_death

POST = (
    "搬到新城市以后我一直没有朋友怎么办？我是去年秋天因为换岗搬过来的，租的房子在城郊，下班回来常常只有一盏灯等着我。"
    "同事们周末都有各自的家庭，我不好意思打扰他们。每到周五晚上我就特别孤单，会把电视开着当背景声。"
)
MORE = "是的，我还担心自己会变成一个不会说话的人，上周开会时我连一句完整的汇报都没讲好。"
ANSWER = (
    "你好，很高兴认识你。从热闹的老家到只有一盏灯的屋子，这样的落差会让人觉得很孤单，这份感受很真实。"
    "周五晚上把电视开着，其实是在给自己找一点陪伴，这说明你在努力照顾自己。"
)
ADVICE = (
    "可以先从一件小事开始，比如在楼下的面馆和老板多说两句话，让身边慢慢有几张熟悉的脸。"
    "也不妨约一位同事中午一起吃饭，不需要聊得很深，只要坐在一起就好。你搬来多久了？祝你一切顺利！"
)


def dialogue(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=content) for role, content in turns]


def whole(extra: str = "") -> list[Message]:
    return dialogue(
        ("user", POST + extra),
        ("assistant", ANSWER),
        ("user", MORE),
        ("assistant", ADVICE),
        ("user", "谢谢你的建议，我会试试的。"),
        ("assistant", "不客气，随时来找我聊天，加油！"),
    )


def test_a_dialogue_becomes_one_post_and_one_answer() -> None:
    text = build_lct(whole())
    assert text is not None
    assert text.post.startswith("搬到新城市以后")
    assert "还担心自己会变成" in text.post
    assert "是的" not in text.post
    assert "谢谢" not in text.post
    assert "面馆" in text.answer
    for dropped in ("你好", "祝你", "不客气", "搬来多久"):
        assert dropped not in text.answer


def test_lengths_are_kept_and_sentences_whole() -> None:
    many = "".join(
        f"第{i}件让我睡不着的事是楼上的脚步声和明天第{i}场会。" for i in "一二三四五六七八九"
    )
    text = build_lct(whole(many * 8))
    assert text is not None
    assert 100 <= len(text.post) <= 900
    assert 120 <= len(text.answer) <= 700
    assert text.post[-1] in "。！？…”"
    assert text.answer[-1] in "。！？…”"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        dialogue(("assistant", ANSWER)),
        dialogue(("user", "我很累。"), ("assistant", ANSWER + ADVICE)),
        dialogue(("user", POST), ("assistant", "不客气。")),
        dialogue(("user", "  "), ("assistant", "")),
    ],
)
def test_too_little_text_gives_none(messages: Sequence[Message]) -> None:
    assert build_lct(messages) is None


def test_turns_of_one_role_in_a_row_are_merged_and_empty_turns_ignored() -> None:
    split = dialogue(
        ("user", POST[:40]),
        ("user", POST[40:]),
        ("assistant", ""),
        ("assistant", ANSWER),
        ("assistant", ADVICE),
    )
    assert build_lct(split) is not None


def test_near_identical_sentences_appear_once() -> None:
    again = dialogue(
        ("user", POST), ("assistant", ANSWER + ADVICE), ("user", MORE), ("assistant", ADVICE)
    )
    text = build_lct(again)
    assert text is not None
    assert text.answer.count("面馆") == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "你可能是患上了抑郁症。",
        "每天两次，每次服用半片就能睡着。",
        "可以拨打热线12345。",
        "我会永远陪着你的。",
        "相信我，一切都会好起来的。",
        "我是一名心理咨询师。",
        "我以前也失恋过，后来遇到了现在的老公。",
        "祝你早日找到方向。",
        "你们在一起多久了？",
    ],
)
def test_a_supporters_unfit_sentence_is_dropped(sentence: str) -> None:
    assert clean_supporter(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    ["你的难过是可以理解的。", "不妨把这件事写下来。", "你真正想要的会不会是被看见？"],
)
def test_a_supporters_useful_sentence_stays(sentence: str) -> None:
    assert clean_supporter(sentence) == sentence


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("是的，他昨晚又没有回家。", "他昨晚又没有回家。"),
        ("嗯嗯，我妈妈也这么说过。", "我妈妈也这么说过。"),
        ("好的，我会试试的。", None),
        ("谢谢你的理解和支持！", None),
        ("你有什么建议吗？", None),
    ],
)
def test_a_seekers_later_sentence_loses_what_only_answers(sentence: str, kept: str | None) -> None:
    assert clean_seeker(sentence, first=False) == kept


def test_posts_about_death_are_told() -> None:
    assert speaks_of_death("我有时候真的不想活了")
    assert not speaks_of_death("这件事笑死我了")


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=300))))
def test_no_dialogue_makes_it_raise(turns: list[tuple[str, str]]) -> None:
    text = build_lct(dialogue(*turns))
    assert text is None or (len(text.post) >= 100 and len(text.answer) >= 120)


def write_rows(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [{"id": i, "messages": whole(f"那是我搬来的第{i}个星期。")} for i in range(400)]
    groups = [{"group": g, "ids": [2 * g, 2 * g + 1]} for g in range(200)]
    write_rows(tmp_path / "smilechat" / "smilechat.jsonl.xz", rows)
    write_rows(tmp_path / "smilechat" / "groups.jsonl.xz", groups)
    return tmp_path


def ids_of(records: Sequence[LctRecord]) -> set[int]:
    return {int(record.id.rpartition("-")[2]) for record in records}


def test_groups_stay_on_one_side_and_held_out_ids_match(corpus: Path) -> None:
    splits: tuple[Split, ...] = ("train", "valid", "test")
    sides = {side: ids_of(list(iter_lct(corpus, side))) for side in splits}
    assert set.union(*sides.values()) == set(range(400))
    assert sum(map(len, sides.values())) == 400
    for side, ids in sides.items():
        assert {split_of(i // 2) for i in ids} == {side}
    assert heldout_ids(corpus) == sides["valid"] | sides["test"]
    assert len(sides["train"]) > 360


def test_the_stream_is_repeatable_and_carries_its_licence(corpus: Path) -> None:
    first, second = (list(iter_lct(corpus, "train")) for _ in range(2))
    assert first == second
    assert {record.licence for record in first} == {"CC0-1.0"}
    assert len(first[0].answers) == 1


def test_exact_repeats_come_once(tmp_path: Path) -> None:
    ids = [i for i in range(60) if split_of(i) == "train"][:2]
    write_rows(
        tmp_path / "smilechat" / "smilechat.jsonl.xz",
        [{"id": i, "messages": whole()} for i in ids],
    )
    write_rows(tmp_path / "smilechat" / "groups.jsonl.xz", [{"group": i, "ids": [i]} for i in ids])
    assert len(list(iter_lct(tmp_path, "train"))) == 1


@pytest.mark.parametrize(
    "row", [{"id": "x", "messages": []}, {"id": 1}, {"id": 1, "messages": [{"role": "user"}]}]
)
def test_a_broken_row_is_refused_without_its_text(tmp_path: Path, row: object) -> None:
    write_rows(tmp_path / "smilechat" / "smilechat.jsonl.xz", [row])
    write_rows(tmp_path / "smilechat" / "groups.jsonl.xz", [{"group": 1, "ids": [1]}])
    with pytest.raises(TrainingDataError, match="smilechat"):
        list(iter_lct(tmp_path, "train"))


def test_a_dialogue_without_group_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "smilechat" / "smilechat.jsonl.xz", [{"id": 7, "messages": whole()}])
    write_rows(tmp_path / "smilechat" / "groups.jsonl.xz", [{"group": 1, "ids": [1]}])
    with pytest.raises(TrainingDataError, match="no group"):
        list(iter_lct(tmp_path, "train"))
