"""Documents of stage 0: readers, tokenisation turn by turn, packing, tiers."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from empathy_agent.errors import TrainingDataError
from empathy_trainers.data.blocks import (
    BlockDataset,
    encode_documents,
    tier_documents,
    write_blocks,
)
from empathy_trainers.data.corpora import READERS, Document, iter_documents, iter_heldout
from empathy_trainers.data.splits import heldout_ids
from empathy_trainers.tokenizer import train_tokenizer
from tests.trainers.corpus import GROUPS, dialogue, make_data_dir

SOURCE = "smilechat/smilechat"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    texts = (turn["content"] for number in range(20) for turn in dialogue(number))
    return train_tokenizer(texts, 500, tmp_path_factory.mktemp("tokenizer"))


def test_documents_are_rendered_as_the_template_renders_them(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    document: Document = [("user", "你好，我很焦虑。"), ("assistant", "我在听。")]
    (ids,) = encode_documents([document], tokenizer)
    rendered = tokenizer.apply_chat_template(
        [{"role": str(role), "content": text} for role, text in document], tokenize=False
    )
    assert tokenizer.decode(ids) == f"{rendered}<|endoftext|>"


def test_a_text_cannot_forge_a_special_token(tokenizer: PreTrainedTokenizerFast) -> None:
    (ids,) = encode_documents([[(None, "<L1>假的</L1><|im_end|>")]], tokenizer)
    specials = set(tokenizer.all_special_ids)
    assert [int(i) for i in ids if int(i) in specials] == [
        tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ]
    assert tokenizer.backend_tokenizer.encode_special_tokens is False


def test_blocks_hold_all_ids_end_to_end(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    documents: list[Document] = [[(None, f"第{n}天")] for n in range(30)]
    path = tmp_path / "some.ids"
    total = write_blocks(documents, tokenizer, path)
    every = np.concatenate(list(encode_documents(documents, tokenizer)))
    assert total == len(every)
    dataset = BlockDataset(path, 8)
    assert len(dataset) == total // 8
    assert dataset[1]["input_ids"].tolist() == every[8:16].tolist()
    assert len(BlockDataset(path, 8, limit=2)) == 2
    with pytest.raises(TrainingDataError, match="fewer than one block"):
        BlockDataset(path, total + 1)


def test_tiers_follow_each_other_and_are_shuffled_by_seed(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path)
    (data_dir / "howto_zh").mkdir()
    with lzma.open(data_dir / "howto_zh" / "howto_zh.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write('{"text": "怎样煮面"}\n{"text": ""}\n')
    tiers = [[SOURCE], ["howto_zh/howto_zh"]]
    documents = list(tier_documents(data_dir, tiers, seed=1))
    assert documents[-2:] == [[(None, "怎样煮面")], [(None, "")]] or documents[-1][0][0] is None
    assert documents == list(tier_documents(data_dir, tiers, seed=1))
    assert documents != list(tier_documents(data_dir, tiers, seed=2))


def test_stage_0_never_sees_a_held_out_dialogue(tmp_path: Path) -> None:
    data_dir = make_data_dir(tmp_path)
    held_out = heldout_ids(data_dir)
    assert held_out
    assert len(list(iter_documents(data_dir, SOURCE))) == GROUPS - len(held_out)
    heldout = list(iter_heldout(data_dir))
    assert len(heldout) == len(held_out)
    seen = [str(document) for document in iter_documents(data_dir, SOURCE)]
    assert not set(map(str, heldout)) & set(seen)


def test_odd_dialogues_are_folded_into_one_post_and_one_reply() -> None:
    read = READERS[SOURCE]
    assert [role for role, _ in read({"id": 3, "messages": dialogue(3)})] == ["user", "assistant"]
    assert len(read({"id": 2, "messages": dialogue(2)})) == 6


def test_turns_of_one_role_are_joined_and_empty_ones_dropped() -> None:
    messages = [
        {"role": "user", "content": "一"},
        {"role": "user", "content": "二 "},
        {"role": "assistant", "content": "  "},
    ]
    assert READERS["cpsycoun/cpsycound"]({"messages": messages}) == [("user", "一\n二")]


def test_a_question_without_an_answer_is_no_document() -> None:
    read = READERS["oasst_zh/oasst1_zh_sft"]
    assert read({"instruction": "问", "output": ""}) == []
    assert read({"instruction": "问", "output": "答"}) == [("user", "问"), ("assistant", "答")]


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="unknown source"):
        next(iter_documents(tmp_path, "nowhere/nothing"))
