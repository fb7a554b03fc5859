"""Invented corpora in the layout of the data folder, and a recipe of a minute's size for them."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

from empathy_trainers.recipe import ModelShape, Recipe, Source, Stage

PLACES = ("宿舍", "办公室", "出租屋", "图书馆", "厨房", "车站", "操场", "医院走廊")
PEOPLE = ("妈妈", "室友", "男朋友", "同事", "老师", "姐姐", "老板", "同桌")
TROUBLES = ("总说我不够努力", "很久没有回我的消息", "当着大家的面批评我", "不肯听我把话说完")
GROUPS = 160
"""Enough that each split of the hash gets some."""


def dialogue(number: int) -> list[dict[str, str]]:
    """Return an invented dialogue that folds into a long counselling text."""
    place, person = PLACES[number % 8], PEOPLE[number // 8 % 8]
    trouble = TROUBLES[number // 64 % 4]
    turns = (
        (
            "user",
            f"我最近在{place}里经常失眠，感到很焦虑。{person}{trouble}，我每天晚上都在想是不是我做错了什么，"
            f"想着想着就哭了。第{number}天的时候我连饭都吃不下，工作也一直出错，我觉得自己什么都做不好。",
        ),
        (
            "assistant",
            f"听起来{person}的话让你很焦虑，也很委屈，一个人在{place}里睡不着的夜晚一定很难熬。"
            "你一直在反省自己，这说明你很在乎这段关系，这样的心情是可以理解的。",
        ),
        ("user", f"是的，我想知道怎样才能和{person}好好谈一谈，而不是每次都吵起来，然后我又后悔。"),
        (
            "assistant",
            f"可以先选一个两个人都不忙的时候，告诉{person}你听到那句话的感受，再说说你希望怎样。"
            "如果说不出口，写成一封短信也可以，先照顾好睡眠，给自己一点时间慢慢来。",
        ),
        ("user", "谢谢你。"),
        ("assistant", "不客气，祝你好运。"),
    )
    return [{"role": role, "content": content} for role, content in turns]


def make_data_dir(folder: Path) -> Path:
    """Write SmileChat and its groups, all invented, below `folder`."""
    target = folder / "smilechat"
    target.mkdir(parents=True)
    rows = [{"id": n, "messages": dialogue(n)} for n in range(GROUPS)]
    groups = [{"group": n, "ids": [n]} for n in range(GROUPS)]
    for name, objects in (("smilechat", rows), ("groups", groups)):
        with lzma.open(target / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)
    return folder


def make_recipe(**changes: object) -> Recipe:
    """Return a recipe of a few steps on a model of a few thousand weights."""
    stage = Stage(
        block=256,
        batch=2,
        learning_rate=0.003,
        token_budget=2048,
        schedule="constant_with_warmup",
        warmup_steps=1,
        eval_blocks=2,
    )
    recipe = Recipe(
        name="minute",
        precision="float32",
        sources=(Source(name="smilechat/smilechat", origin="invented", licence="CC0-1.0"),),
        model=ModelShape(
            vocab_size=700,
            hidden_size=32,
            layers=2,
            heads=2,
            kv_heads=1,
            head_dim=16,
            intermediate_size=64,
            context=1024,
        ),
        pretrain=stage,
        sft=stage.model_copy(update={"block": 1024, "schedule": "linear", "token_budget": 4000}),
    )
    return recipe.model_copy(update=changes)
