"""The held-out report: which posts, what is counted, and that replies stand unedited."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.backends.fake import FakeBackend
from empathy_agent.config import Sampling
from empathy_agent.errors import ConfigError, TrainingDataError
from empathy_trainers import samples as module
from empathy_trainers.data.splits import split_of
from empathy_trainers.overlap import (
    common_words,
    content_words,
    derangement,
    load_cut,
    overlap,
)
from empathy_trainers.samples import (
    answer_posts,
    format_share,
    heldout_posts,
    main,
    markdown,
    quote_counts,
)
from tests.trainers.corpus import make_data_dir


def cut(text: str) -> list[str]:
    """Cut into pairs of characters, in place of a dictionary."""
    return [text[at : at + 2] for at in range(0, len(text), 2)]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "LONG_POST", 100)
    monkeypatch.setattr(module, "load_cut", lambda: cut)
    return make_data_dir(tmp_path / "data")


def test_posts_come_from_the_test_split_alone_in_a_fixed_order(data_dir: Path) -> None:
    posts = heldout_posts(data_dir, 7)
    assert posts
    assert all(split_of(int(post.id.rpartition("-")[2])) == "test" for post in posts)
    assert posts == heldout_posts(data_dir, 7)


def test_replies_stand_in_the_report_as_they_came(data_dir: Path) -> None:
    with FakeBackend() as backend:
        found = answer_posts(backend, heldout_posts(data_dir, 7)[:2], 7)
    text = markdown(found, {"model": "fake", "seed": 7, "pool": 2})
    for sample in found:
        assert sample.reply.answer in text
        assert sample.post in text
        assert sample.reply.chain.emotion
        assert sample.reply.chain.emotion.text.strip() in text


def test_only_exact_quotes_count_as_exact(data_dir: Path) -> None:
    posts = heldout_posts(data_dir, 7)[:1]
    script = {"L1": "焦虑(3)「经常失眠」。处境：难。", "L2": "起因：话「从没写过的话」。"}
    with FakeBackend(script) as backend:
        counts = quote_counts(answer_posts(backend, posts, 7))
    assert counts == {"quotes": 2, "exact": 1, "replies_with_an_exact_quote": 1}


def test_free_generations_are_judged_strictly(data_dir: Path) -> None:
    posts = heldout_posts(data_dir, 7)[:2]
    good = "<L1>焦虑</L1>\n<L2>起因</L2>\n<L3>倾听</L3>\n<L4>理解</L4>\n</empathy_think>\n"
    good += "<answer>我在。"
    script = {"single_pass": [good, good.replace("</L2>", "")]}
    with FakeBackend(script) as backend:  # type: ignore[arg-type]
        found = format_share(backend, posts, Sampling(), 7)
    assert (found["valid"], found["total"]) == (1, 2)
    assert found["faults"] == {"cause, stop": 1}
    assert "temperature 0.7" in str(found["settings"])


def test_the_command_writes_both_files(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "docs" / "samples.md"
    arguments = ["--model", "fake", "--data-dir", str(data_dir), "--out", str(out)]
    main([*arguments, "--count", "2", "--format-share", "1"])
    facts = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["format_share"]["total"] == 1
    assert facts["overlap"]["all_content_words"]["pairs"] == 2
    assert len(facts["posts"]) == 2
    assert "unedited" in out.read_text(encoding="utf-8")
    with pytest.raises(TrainingDataError, match="ask for fewer"):
        main([*arguments, "--count", "9999"])


def test_content_words_are_no_function_words() -> None:
    assert content_words("我们宿舍a1焦虑", lambda _: ["我们", "宿舍", "a1", "焦", "焦虑"]) == {
        "宿舍",
        "焦虑",
    }


def test_replies_to_their_own_posts_stand_out_against_chance() -> None:
    posts = [frozenset({f"词{n}", "压力"}) for n in range(10)]
    own = overlap(posts, posts, seed=1)
    assert (own.own, own.shuffled_mean) == (10, 10.0)
    common = common_words(posts)
    assert common == {"压力"}
    strict = overlap([one - common for one in posts], [one - common for one in posts], seed=1)
    assert (strict.own, strict.shuffled_mean, strict.shuffled_max) == (10, 0.0, 0)
    assert (own.own_words, strict.own_words) == (2.0, 1.0)


@given(st.integers(2, 30), st.integers(0, 99))
def test_a_derangement_moves_everything(size: int, seed: int) -> None:
    order = derangement(size, random.Random(seed))
    assert sorted(order) == list(range(size))
    assert all(i != j for i, j in enumerate(order))


def test_one_thing_has_no_derangement() -> None:
    with pytest.raises(ValueError, match="two"):
        derangement(1, random.Random(0))


def test_without_jieba_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ConfigError, match=r"empathy-agent\[train\]"):
        load_cut()


# jieba's own regular expressions and its dictionary file: https://github.com/fxsjy/jieba/issues/1017
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_jieba_cuts_words_where_it_is_installed() -> None:
    pytest.importorskip("jieba")
    assert "宿舍" in content_words("我一个人在宿舍里胡思乱想", load_cut())
