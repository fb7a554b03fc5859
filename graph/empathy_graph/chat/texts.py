"""Every word of the chat's interface, in Chinese and English; what the model or the safety floor says is not here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from empathy_agent.vocabulary import Language, LayerName


@dataclass(frozen=True)
class Texts:
    """The words in one language; fields in braces are filled in."""

    start: str
    loading: str
    stopped: str
    stop_kept: str
    how_to_leave: str
    note: str
    layers: Mapping[LayerName, str]
    answer: str
    no_chain: str
    chain_on: str
    chain_off: str
    nothing_to_retry: str
    support_is: str
    support_auto: str
    support_unknown: str
    saved: str
    saved_already: str
    name_taken: str
    resumed: str
    not_stored: str
    forgotten: str
    forgotten_but: str
    resources_generic: str
    unknown: str
    near: str
    slash: str
    pause: str
    failed: str
    help: str


_ZH = Texts(
    start="/help 看有哪些命令，/resources 看求助渠道，Ctrl-D 离开。除非你用 /save，否则什么都不会存到磁盘上。",
    loading="正在打开模型……",
    stopped="（已停止）",
    stop_kept="（你的话仍留在对话里，因为它和安全有关；/retry 可以再问一次）",
    how_to_leave="要离开，按 Ctrl-D 或输入 /quit。",
    note="注意：{text}",
    layers=MappingProxyType(
        {"emotion": "L1 情绪", "cause": "L2 起因", "intention": "L3 意图", "strategy": "L4 策略"}
    ),
    answer="回复",
    no_chain="没有可以显示的推理链。",
    chain_on="以后每次回复前都显示推理链。",
    chain_off="以后不再显示推理链；/chain 可以看上一次的。",
    nothing_to_retry="还没有可以重新回答的消息。",
    support_is="想要的支持：{support}。",
    support_auto="想要的支持：由模型自己判断。可选：{choices}，auto。",
    support_unknown="没有这种支持；可选：{choices}，auto。",
    saved="从现在起这段对话存为 {name!r}，文件 {path}。/forget 会把它删掉。",
    saved_already="这段对话已经存为 {name!r}。",
    name_taken="已经有名为 {name!r} 的对话；换一个名字，或用 --thread {name} 接着那段聊。",
    resumed="接着 {name!r} 聊，已有 {count} 条消息；之后的每一轮都会存下来。",
    not_stored="这一轮没能存下来：{text}",
    forgotten="这段对话已经删掉了：内存里、模型的缓存里和存过的文件里都没有了。现在重新开始，什么都不会存。",
    forgotten_but="内存和模型缓存里的对话已经删掉了，但是：{text}",
    resources_generic="（没有设定地区；用 --region CN 之类可以看到当地的号码）",
    unknown="没有这个命令。",
    near="你是想输入 {near} 吗？",
    slash="要发送以 / 开头的话，请写成 //。/help 列出所有命令。",
    pause="你已经聊了很久了，不妨歇一歇，喝口水，走动一下。",
    failed="这一轮没有完成：{text}",
    help="""\
/support [倾听|认可|理解|建议|信息|auto]  说明想要哪种支持，或看现在的
/chain [on|off]   看上一次回复的推理链；on、off 决定以后是否随回复显示
/retry            重新回答上一条消息，替换原来的回复
/save [名字]      从现在起把对话存到磁盘；不用它就不存
/forget           删掉这段对话：内存、模型缓存、存过的文件，并清屏
/resources        求助渠道
/help             这张表
/quit             离开；Ctrl-D、quit、exit、退出 也可以
Enter 发送，Alt+Enter 或 Ctrl-J 换行；粘贴的多行文字算一条消息。
回复时按 Ctrl-C 停下来：停下的那一轮不进入对话（与安全有关的话除外），/retry 可以再问。
要发送以 / 开头的话，请写成 //。""",
)

_EN = Texts(
    start="/help lists the commands, /resources shows where to find help, Ctrl-D leaves. "
    "Nothing is stored on disk unless you use /save.",
    loading="opening the model ...",
    stopped="(stopped)",
    stop_kept="(your message stays in the conversation, as it bears on safety; /retry asks again)",
    how_to_leave="To leave, press Ctrl-D or type /quit.",
    note="note: {text}",
    layers=MappingProxyType(
        {
            "emotion": "L1 emotion",
            "cause": "L2 cause",
            "intention": "L3 intention",
            "strategy": "L4 strategy",
        }
    ),
    answer="answer",
    no_chain="There is no chain to show.",
    chain_on="From now on the chain is shown before each reply.",
    chain_off="The chain is no longer shown; /chain shows the last one.",
    nothing_to_retry="There is no message yet to answer again.",
    support_is="support wanted: {support}.",
    support_auto="support wanted: the model reads it. Possible: {choices}, auto.",
    support_unknown="there is no such support; possible: {choices}, auto.",
    saved="From now on this conversation is stored as {name!r} in {path}. /forget deletes it.",
    saved_already="This conversation is stored as {name!r} already.",
    name_taken="There is a conversation {name!r} already; choose another name, or go on with it by --thread {name}.",
    resumed="Going on with {name!r}, {count} messages so far; every turn from here is stored.",
    not_stored="this turn could not be stored: {text}",
    forgotten="The conversation is deleted from memory, from the model's cache and from the file it was stored in. "
    "This is a new one, and nothing of it is stored.",
    forgotten_but="The conversation is deleted from memory and from the model's cache, but: {text}",
    resources_generic="(no region is set; --region US and the like shows local numbers)",
    unknown="There is no such command.",
    near="Did you mean {near}?",
    slash="To send words that begin with /, write //. /help lists the commands.",
    pause="You have been here for a long while; a break, some water or a few steps may do you good.",
    failed="this turn was not completed: {text}",
    help="""\
/support [listening|validation|understanding|advice|information|auto]
                  say which support you want, or see what is set
/chain [on|off]   show the chain of the last reply; on and off: with every reply or not
/retry            answer the last message anew, in place of the old reply
/save [NAME]      store the conversation on disk from now on; without it nothing is stored
/forget           delete the conversation: memory, the model's cache, the stored file; clear the screen
/resources        where to find help
/help             this list
/quit             leave; Ctrl-D, quit and exit do as well
Enter sends, Alt+Enter or Ctrl-J breaks the line; a pasted text of many lines is one message.
Ctrl-C stops a reply: the stopped turn stays out of the conversation (unless it bears on safety); /retry asks again.
To send words that begin with /, write //.""",
)

TEXTS: Mapping[Language, Texts] = MappingProxyType({"zh": _ZH, "en": _EN})


def language_of(
    environ: Mapping[str, str] = os.environ, languages: tuple[str, ...] | None = None
) -> Language:
    """Return the language to begin in: the locale's, or where that says nothing the model's only one."""
    locale = next(
        (value for key in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environ.get(key))), ""
    )
    if locale.partition(".")[0] in ("", "C", "POSIX"):
        return "zh" if languages == ("zh",) else "en"
    return "zh" if locale.lower().startswith("zh") else "en"
