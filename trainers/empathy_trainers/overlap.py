"""Do replies speak of their own posts? Shared content words, against shuffled replies.

Generic words (压力, 朋友) match by chance, so a count alone says little. The same count over random
derangements, in which no reply keeps its post, is what chance gives; a stricter count leaves out
every word that occurs in more than a fifth of the posts.
"""

from __future__ import annotations

import importlib
import logging
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from empathy_agent.errors import ConfigError

Cut = Callable[[str], Iterable[str]]
TOKENIZER: Final = "jieba 0.42 (accurate mode, its own dictionary), words of two or more Han signs"
COMMON_SHARE: Final = 0.2
"""A word in more than this share of the posts is left out of the strict count."""
SHUFFLES: Final = 100

_HAN_WORD: Final = re.compile(r"[\u3400-\u9fff]{2,}")
STOP: Final = frozenset(
    """
    自己 我们 你们 他们 她们 它们 咱们 大家 别人 对方 有人 这个 那个 这些 那些 这样 那样 这种 那种
    这么 那么 什么 怎么 怎样 如何 为什么 哪些 哪里 这里 那里 多少 几个 一个 一些 一下 一点 一种
    一直 一样 一起 一次 一定 一般 一切 一方面 有些 有点 有时 有时候 时候 现在 以前 以后 之前 之后
    后来 最近 今天 今年 目前 同时 已经 曾经 正在 经常 总是 常常 往往 突然 马上 然后 于是 所以 因为
    因此 由于 但是 可是 不过 然而 而且 并且 或者 或许 可能 也许 如果 假如 要是 虽然 尽管 即使 无论
    不管 只要 只有 除了 关于 对于 根据 通过 为了 以及 还有 其实 其中 其他 可以 能够 应该 需要 必须
    想要 希望 觉得 感觉 感到 认为 知道 看到 听到 发现 出现 成为 变得 开始 继续 进行 得到 没有 不是
    不会 不能 不想 不要 不用 不敢 不再 不同 不知 不知道 就是 还是 都是 也是 只是 而是 还要 就会
    真的 非常 特别 比较 十分 更加 越来越 很多 许多 太多 多么 或是 甚至 至少 最后 首先 其次 另外
    比如 例如 尤其 毕竟 确实 当然 显然 完全 几乎 本来 原来 居然 竟然 反而 反正 到底 究竟 是否 能否
    起来 出来 下来 下去 过来 过去 上去 回来 回去 事情 东西 问题 情况 方面 方式 方法 样子 地方 部分
    原因 结果 过程 时间 一年 两年 一天 每天 当时 一段 我会 你会 我要 你要 我想 想法 好像 似乎 这是
    那是 所有 任何 每个 某些 各种 那时 此时 之间 之中 以上 以下 作为
    """.split()
)
"""Function words and words of no topic; feelings, people, places and deeds are not in here."""


def load_cut() -> Cut:
    """Return jieba's word segmentation.

    Raises:
        ConfigError: jieba is not installed.
    """
    try:
        jieba = importlib.import_module("jieba")
    except ImportError as error:
        raise ConfigError("jieba is missing; install `empathy-agent[train]`") from error
    jieba.setLogLevel(logging.WARNING)

    def cut(text: str) -> Iterable[str]:
        words: Iterable[str] = jieba.cut(text)
        return words

    return cut


def content_words(text: str, cut: Cut) -> frozenset[str]:
    """Return the words of two or more Han signs that are not in `STOP`."""
    return frozenset(w for w in cut(text) if _HAN_WORD.fullmatch(w) and w not in STOP)


def common_words(posts: Sequence[frozenset[str]]) -> frozenset[str]:
    """Return the words that occur in more than `COMMON_SHARE` of `posts`."""
    counts = Counter(word for post in posts for word in post)
    return frozenset(w for w, count in counts.items() if count > COMMON_SHARE * len(posts))


@dataclass(frozen=True)
class Overlap:
    """How many replies share a content word with a post."""

    pairs: int
    own: int
    """Replies that share at least one word with their own post."""
    shuffled_mean: float
    """The same over derangements: replies given to other posts."""
    shuffled_max: int
    own_words: float
    """Words that a reply shares with its own post, mean."""
    shuffled_words: float
    """Words that a reply shares with another post, mean."""


def overlap(
    posts: Sequence[frozenset[str]], replies: Sequence[frozenset[str]], seed: int
) -> Overlap:
    """Compare replies with their own posts and with others'.

    Args:
        posts: Words of each post, two posts at least.
        replies: Words of the reply to each.
        seed: Of the `SHUFFLES` derangements.
    """
    table = [[len(post & reply) for post in posts] for reply in replies]
    draw = random.Random(seed)
    shuffles = [derangement(len(posts), draw) for _ in range(SHUFFLES)]
    counts = [sum(table[i][j] > 0 for i, j in enumerate(one)) for one in shuffles]
    words = [statistics.fmean(table[i][j] for i, j in enumerate(one)) for one in shuffles]
    return Overlap(
        pairs=len(posts),
        own=sum(table[i][i] > 0 for i in range(len(posts))),
        shuffled_mean=round(statistics.fmean(counts), 2),
        shuffled_max=max(counts),
        own_words=round(statistics.fmean(table[i][i] for i in range(len(posts))), 2),
        shuffled_words=round(statistics.fmean(words), 2),
    )


def derangement(size: int, draw: random.Random) -> list[int]:
    """Return a random order of `range(size)` in which nothing keeps its place.

    Raises:
        ValueError: `size` is less than two.
    """
    if size < 2:
        raise ValueError("a derangement needs two things at least")
    order = list(range(size))
    while any(i == j for i, j in enumerate(order)):
        draw.shuffle(order)
    return order
