"""The weak annotator: exact quotes, the layers' form, negation, variety, and its report.

Every post and reply here is invented.
"""

from __future__ import annotations

import json
import lzma
import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.layer_text import read_layer
from empathy_agent.vocabulary import ACTS, EMOTIONS, SUPPORTS
from empathy_trainers.weak.annotate import ANNOTATOR, ChainLayers, annotate
from empathy_trainers.weak.emotions import find_hits, read_emotions
from empathy_trainers.weak.lexicon import lexicon
from empathy_trainers.weak.outside import SETS, f1_table, measure
from empathy_trainers.weak.records import build_sft_records
from empathy_trainers.weak.report import main
from empathy_trainers.weak.sentences import clauses
from empathy_trainers.weak.wording import neutral, quote_of

POST = (
    "妈妈总拿我和表姐比较，我该怎么办？上个月模拟考成绩出来，我比之前退步了二十名，妈妈当着亲戚的面骂我不争气。"
    "我心里特别委屈，也很自卑，总觉得自己什么都做不好。晚上躺在宿舍里反复想那句话，我越来越焦虑。"
)
ANSWER = (
    "听起来你感到很委屈，被当众比较确实让人难堪，这样的心情是可以理解的。你一直在努力，这很不容易。"
    "建议你找一个平静的时候和妈妈谈一谈，告诉她哪些话让你难受。也可以从小目标做起，一点点找回信心。"
)


def chain() -> ChainLayers:
    layers = annotate(POST, ANSWER, "invented-1")
    assert layers is not None
    return layers


def test_emotions_are_the_ones_the_post_names() -> None:
    assert {emotion.id for emotion in chain().emotions} <= {
        "grievance",
        "inferiority",
        "anxiety",
        "shame",
    }
    assert "grievance" in {emotion.id for emotion in chain().emotions}


def test_every_quote_is_an_exact_part_of_the_post() -> None:
    quotes = chain().quotes()
    assert len(quotes) >= 3
    assert all(quote in POST and 4 <= len(quote) <= 24 for quote in quotes)


def test_layers_have_the_agreed_form() -> None:
    layers = chain()
    assert re.match(r"^\S+\([123]\)「[^」]+」(；\S+\([123]\)「[^」]+」)*。处境：.+。$", layers.l1)
    assert layers.l2.startswith("起因：")
    assert "信念：" in layers.l2
    labels = "|".join(label.zh for label in SUPPORTS.values())
    assert re.match(rf"^(?:{labels})(?:；(?:{labels}))*。.+。$", layers.l3)
    assert layers.l4.split("。")[0].split("；") == [ACTS[act].zh for act in layers.acts]


def test_what_is_written_is_read_back() -> None:
    layers = chain()
    assert read_layer("emotion", layers.l1, post=POST).emotions == layers.emotions
    cause = read_layer("cause", layers.l2, post=POST)
    assert (cause.causes, cause.beliefs) == (layers.causes, layers.beliefs)
    intention = read_layer("intention", layers.l3, post=POST)
    assert (intention.primary, intention.others) == (layers.support, layers.other_supports)
    assert read_layer("strategy", layers.l4, post=POST).acts == layers.acts


def test_free_sentences_carry_words_of_the_post() -> None:
    layers = chain()
    shared = [
        sum(text[i : i + 2] in POST for i in range(len(text) - 1))
        for text in (layers.l1.partition("处境：")[2], layers.l2.rpartition("」")[2], layers.l3)
    ]
    assert min(shared) >= 1


def test_the_same_input_gives_the_same_chain() -> None:
    assert annotate(POST, ANSWER, "k") == annotate(POST, ANSWER, "k")


def test_the_answer_decides_the_acts() -> None:
    layers = annotate(POST, "研究发现，这往往源于早年的比较。" * 4, "k")
    assert layers is not None
    assert layers.acts == ("informing",)


def test_a_post_without_any_feeling_or_cue_is_refused() -> None:
    assert annotate("今天的天气很好，路边的花开了。", ANSWER, "k") is None
    assert annotate(POST, "花开了。", "k") is None


@pytest.mark.parametrize(
    "text",
    [
        "我不焦虑",
        "我现在没有那么难过",
        "他很生气",
        "妈妈特别失望",
        "哪怕下雨我也去",
        "笑死我了",
        "恐怕来不及",
        "我去年被确诊焦虑",
    ],
)
def test_denied_foreign_and_idiomatic_feelings_do_not_count(text: str) -> None:
    assert find_hits(text) == []


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("我忍不住难过", "sadness"),
        ("他让我很失望", "disappointment"),
        ("我对他特别愧疚", "guilt"),
        ("怎么才能不焦虑", "anxiety"),
    ],
)
def test_feelings_behind_a_trap_are_found(text: str, emotion: str) -> None:
    assert emotion in {hit.emotion for hit in find_hits(text)}


@pytest.mark.parametrize(
    ("text", "intensity"),
    [
        ("这件事让我有点焦虑。", 1),
        ("我心里很焦虑。", 2),
        ("我真是焦虑到崩溃，觉得特别焦虑。", 3),
    ],
)
def test_intensity_follows_the_wording(text: str, intensity: int) -> None:
    assert {e.id: e.intensity for e in read_emotions(text)}["anxiety"] == intensity


def test_mere_asking_is_slight_confusion() -> None:
    (emotion,) = read_emotions("我和同桌坐在一起，我该怎么办呢？")
    assert (emotion.id, emotion.intensity) == ("confusion", 1)


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("但是我总是睡不好", "总是睡不好"),
        ("我妈不让我出门", "妈妈不让TA出门"),
        ("因为我的成绩退步了", "自己的成绩退步了"),
        ("他从来不问我", "他从来不问TA"),
        ("可能要换一份工作啊", "可能要换一份工作"),
    ],
)
def test_a_clause_loses_its_first_person(clause: str, words: str) -> None:
    assert neutral(clause) == words


words = st.sampled_from(
    [
        *(
            "我",
            "妈妈",
            "他",
            "很",
            "特别",
            "焦虑",
            "难过",
            "不",
            "总是",
            "因为",
            "考试",
            "，",
            "。",
        ),
        *("？", "\n", "「", "”", "怎么办", "一个人", "a", "<L1>", "我觉得自己没用"),
    ]
)
posts = st.lists(words, max_size=60).map("".join) | st.text(max_size=200)


@given(post=posts, answer=posts | st.just(ANSWER), key=st.text(max_size=8))
def test_any_text_gives_exact_quotes_or_none(post: str, answer: str, key: str) -> None:
    layers = annotate(post, answer, key)
    if layers is None:
        return
    assert layers.emotions[0].quote
    for quote in layers.quotes():
        assert quote in post
        assert 4 <= len(quote) <= 24
        assert not set(quote) & set("「」\n")
        assert f"「{quote}」" in layers.l1 + layers.l2


@given(post=posts)
def test_a_quote_of_any_clause_is_exact(post: str) -> None:
    for clause in clauses(post):
        quote = quote_of(post, clause)
        assert quote is None or quote in post


def invented() -> list[tuple[str, str]]:
    who = ("男朋友", "妈妈", "室友", "领导", "同桌", "老公")
    what = ("总是冷战不理我", "当众批评我", "不回消息", "拿我和别人比", "答应的事又忘了")
    feels = ("我很委屈", "我特别焦虑", "我有点难过", "我好累", "我很失望")
    return [
        (f"{a}最近{b}，已经两个月了。{c}，晚上常常睡不着。我该怎么和{a}沟通？", f"{i}")
        for i, (a, b, c) in enumerate(product(who, what, feels))
    ]


def test_no_sentence_is_frozen() -> None:
    layers = [one for post, key in invented() if (one := annotate(post, ANSWER, key))]
    assert len(layers) == len(invented())
    for texts in (
        [one.l1.partition("处境：")[2] for one in layers],
        [one.l2 for one in layers],
        [one.l3 for one in layers],
        [one.l4 for one in layers],
    ):
        assert Counter(texts).most_common(1)[0][1] <= 0.08 * len(texts)


def test_word_lists_speak_the_vocabulary() -> None:
    lex = lexicon()
    assert {sense.emotion for senses in lex.senses.values() for sense in senses} == set(EMOTIONS)
    assert len(lex.senses) >= 12 * len(EMOTIONS)
    assert set(lex.supports) == set(SUPPORTS)
    assert set(lex.acts) == set(ACTS)
    assert {f"step_{act}" for act in ACTS} <= set(lex.frames)
    assert {f"want_also_{kind}" for kind in SUPPORTS} <= set(lex.frames)


def test_f1_table_beats_itself_only_when_right() -> None:
    right = f1_table([("anger", "anger"), ("fear", "fear")])
    assert "macro F1 1.000" in right
    assert "covered 50.0%" in f1_table([("anger", None), ("fear", "anger")])


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    pad = "这段时间我每天放学都绕很远的路回家，就为了晚一点听见那些话。那是第{}次。"
    reply = ANSWER + "把那句话写下来，再看看它说的是不是事实，慢慢你会发现它没有那么重。"
    posts = [POST + pad.format(i) + ("我不想活了。" if i % 9 == 4 else "") for i in range(60)]
    rows: list[dict[str, object]] = [
        {
            "id": i,
            "messages": [
                {"role": "user", "content": post},
                {"role": "assistant", "content": reply},
            ],
        }
        for i, post in enumerate(posts)
    ]
    write_rows(tmp_path / "smilechat" / "smilechat.jsonl.xz", rows)
    write_rows(
        tmp_path / "smilechat" / "groups.jsonl.xz", [{"group": i, "ids": [i]} for i in range(60)]
    )
    for name in ("emotion_zh", "ep_native"):
        write_rows(
            tmp_path / "empathetic_personas" / f"{name}.jsonl.xz",
            [{"text": "我很生气", "emotion": "anger"}, {"text": "我害怕黑", "emotion": "fear"}],
        )
    line = {"text": "我真的很担心", "emotion": "worried"}
    write_rows(tmp_path / "cped" / "cped_valid_test.jsonl.xz", [{"utterances": [line]}])
    return tmp_path


def test_records_carry_chain_annotator_and_licence(corpus: Path) -> None:
    records = list(build_sft_records(corpus, "train", limit=5))
    assert len(records) == 5
    assert set(records[0]) == {
        *("id", "source", "licence", "lang", "topic", "question", "answers", "chain", "annotator")
    }
    assert records[0]["annotator"] == ANNOTATOR
    assert not any("不想活" in str(record["question"]) for record in records)


def test_the_report_prints_figures_and_no_text(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data-dir", str(corpus), "--split", "train", "--limit", "40"]) == 0
    printed = capsys.readouterr().out
    assert "exact 100.0%" in printed
    assert "outside set cped" in printed
    assert "妈妈" not in printed
    assert "accuracy 100.0%" in measure(SETS["emotion_zh"], corpus)
