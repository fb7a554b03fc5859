"""The bench's own logic: percentiles, whose words are whose, what a build names, what a goal says."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from bench.chats import Times
from bench.concurrency_report import Memory, ModelResult, Run, goal_lines
from bench.llama_server import features
from bench.process import percentile
from bench.soak_posts import Tags, strange_quotes, tagged_post


@pytest.mark.parametrize(
    ("share", "value"), [(0.01, 1), (0.5, 10), (0.51, 11), (0.95, 19), (0.96, 20), (1.0, 20)]
)
def test_a_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    values = list(range(1, 21))
    random.Random(0).shuffle(values)
    assert percentile(values, share) == value


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([3.0], 0.95) == 3.0


def test_tags_are_far_apart() -> None:
    tags = Tags()
    drawn = [tags.new() for _ in range(200)]
    apart = (
        sum(a != b for a, b in zip(one, other, strict=True))
        for one, other in combinations(drawn, 2)
    )
    assert min(apart) >= 4


def test_a_tag_of_another_recent_post_is_found_wherever_it_stands() -> None:
    tags = Tags()
    own, other = tags.new(), tags.new()
    draw = random.Random(0)
    assert tags.foreign(tagged_post(own, draw, 8), frozenset({own})) == set()
    assert tags.foreign(f"他说{own}{other}，", frozenset({own})) == {other}
    assert tags.foreign(f"他说{other[1:]}", frozenset({own})) == set()


def test_a_quote_must_be_words_of_the_post() -> None:
    assert strange_quotes("焦虑(3)「我睡不着」；孤独「没人来」「", "我睡不着，烦。") == ["没人来"]


def test_the_instruction_sets_of_a_build_are_those_set_to_one() -> None:
    line = "system_info: n_threads = 2 | CPU : AVX = 1 | AVX2 = 1 | AMX_INT8 = 0 | OPENMP = 1 | "
    assert features(line) == {"AVX", "AVX2", "OPENMP"}


def _result(rates: dict[str, float]) -> ModelResult:
    runs = [Run(system, 8, 1.0, round(rate), [Times()], None) for system, rate in rates.items()]
    return ModelResult("model", 2, [], runs, Memory({}, 1, 2, 1))


def test_a_goal_is_met_missed_or_not_measured() -> None:
    met, missing = goal_lines(_result({"ours": 200, "one chat at a time": 100}))
    assert met.endswith("2.00 [≥ 2]: met")
    assert missing.endswith("not measured")
    _, missed = goal_lines(_result({"ours": 80, "llama-server": 100}))
    assert missed.endswith("0.80 [≥ 1]: **missed**")
