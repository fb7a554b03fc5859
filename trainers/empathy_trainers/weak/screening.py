"""Which sentences of a dialogue may enter a training text, told by short cues.

The seeker's side loses thanks, assent and what only answers the supporter; the supporter's side
loses greetings, wishes, self-introductions and everything the output rail would veto later
(diagnoses, doses, numbers, promises, claims to be human). Sentences are dropped whole, never
rewritten, except that a leading word of assent is cut off.
"""

from __future__ import annotations

import re
from typing import Final

_ASSENT: Final = re.compile(
    r"^(?:(?:是的|是啊|对的|对啊|对|嗯+|恩+|好的|好吧|好|没错|确实(?:是这样|如此|是)?|的确|哦|噢|当然|"
    r"我(?:也)?明白了?|我(?:也)?理解了?|我懂了?|我知道了|明白了|你说得?(?:很|非常)?(?:对|有道理)|或许你说得?对|"
    r"也许你说得?对|原来如此|不是的|没有|谢谢你?|很好|非常好|太好了|当然可以|没问题|你好|您好|其实|另外|除此之外|此外|同时|而且|还有|就是)"
    r"[，,。！!、\s~～]+)+"
)
_SEEKER_DROP: Final = re.compile(
    r"谢谢|感谢|多谢|再见|拜拜|祝你|祝您|祝福|听你(?:这么|的)|听了|你说|您说|你的(?:话|建议|支持|鼓励|理解|回答|回复|"
    r"意思|分析|帮助|提醒|陪伴|问题)|您的|这个(?:建议|方法|主意|办法)|这些(?:建议|方法|话)|听起来|好多了|联系你|来找你|"
    r"找您|打扰|我们?(?:两个人|也|一定|都|确实|自己|可能|真的)*(?:会|应该|需要|要|可以)(?!怎|觉|感|想|害|担|被|很|因|经|突|忍|难|生|陷|变|失|情|不|受|如何|怀|莫|紧|"
    r"焦|胡|哭|发|无|有|经常|去看)|从现在开始|意识到|需要(?:一些)?时间|确实(?:应该|需要)|我(?:愿意|可以)(?:试|尝试)|我相信|我决定|我明白|我理解|我懂|我知道了|"
    r"明白了|我同意|有道理|有了(?:一丝)?希望|我(?:也)?希望(?:自己)?(?:能够|能)(?:早日|尽快|慢慢|逐渐)?(?:做到|走出|改善)|"
    r"其他的?(?:方法|建议|方式|办法|问题|方面)|求助者|支持者|咨询师[：:]|对话|没问题|有信心|更有|受益|学到|我考虑一下"
)
_TO_SUPPORTER: Final = re.compile(r"你|您")
_SELF_TALK: Final = re.compile(
    r"^(?:我该怎么办(?:呢)?|怎么办(?:呢)?|你觉得呢|真的吗|是吗|对吗|为什么(?:呢)?)[？?。！!]*$"
)
_SUPPORTER_DROP: Final = re.compile(
    r"不客气|不用谢|别客气|不用客气|你好|您好|亲爱的|亲亲|祝你|祝您|祝福|祝一切|祝愿|祝好|好运|加油|再见|欢迎|"
    r"随时|很高兴(?:能|听|看|认识|和|为|可以)|希望(?:我的|这些|以上|能对|能够帮|可以帮|对你|我能|我们的)|"
    r"我(?:会|将)?(?:一直|永远|始终|都会|都)?(?:会)?(?:在这里|在你身边|陪着你|陪伴你|支持你|为你祈祷)|陪伴在你|永远|"
    r"一切都会(?:好|过去|变)|一定(?:会好|能够?(?:克服|走出|做到|成功|度过|战胜|找到|好|解决|实现)|可以|会(?:变|越|成|找|有|走|过去))|"
    r"保证|我是(?:一名|一位|你的|【|答主|心理|咨询|小|国家|来自)|【|】|答主|题主|楼主|求助者|支持者|私信|关注我|"
    r"作为(?:一名|一个|一位)(?:咨询师|心理)|我也是(?:个|一个)?(?:女|男|人|妈妈|学生|过来)|我(?:自己)?(?:也)?(?:曾经|以前|小时候|当年|"
    r"大学|高中|有个朋友|有一个|身边|的朋友|的经历|的孩子|的来访|老公|先生|男友|的一位)|我们一起|谢谢你|感谢你|"
    r"给你点赞|世界和我爱着你|认真看完|(?i:^hi|^hello)|我爱你|爱你|比心|笔芯|壹心理|本回答|以上(?:是|就是)|如果(?:还|你还|以后|有任何|你有任何|需要|你需要|有需要)|"
    r"(?:帮|解答)(?:到|助到)你|告诉我|联系我|找我|跟我(?:说|聊|分享)|和我(?:说|聊|分享)|愿意(?:跟|和|听|倾听)"
)
_VETO: Final = re.compile(
    r"(?:你|您)(?:可能|应该|很可能|大概|也许|这)?(?:就)?(?:是|有|患|得)(?:了|上)?[^，。]{0,8}(?:抑郁症|焦虑症|强迫症|双相|"
    r"人格障碍|躁郁|精神分裂|障碍|症)|确诊|诊断|毫克|mg|剂量|服用|一片|安眠药|舍曲林|氟西汀|帕罗西汀|阿普唑仑|吃药|药物|"
    r"热线|拨打|电话|QQ|微信号|公众号|\d{3,}|[a-zA-Z]+://|www\.|自杀|轻生|自残"
)
_CRISIS: Final = re.compile(
    r"想死|不想活|自杀|轻生|自残|割腕|结束(?:自己的|我的|这)?(?:一切|生命)|跳楼|了结|去死|不如死|死了算了|想过死|活着没意思|"
    r"活不下去|离开这个世界|伤害自己|安眠药|性侵|强奸|猥亵"
)
_QUESTION: Final = re.compile(r"[？?][”\"』）)]*$")
_REFLECTIVE: Final = re.compile(r"是不是|会不会|有没有可能|真正|自己想|问问自己|想一想|意味")


def speaks_of_death(post: str) -> bool:
    """Tell whether a post shows a danger that no unvetted reply may be learnt for."""
    return bool(_CRISIS.search(post))


def clean_seeker(sentence: str, *, first: bool) -> str | None:
    """Return the sentence as it may stand in a post, or None to drop it.

    Args:
        sentence: One sentence of the seeker.
        first: Whether it comes from the opening turn, of which nearly all is kept.
    """
    kept = _ASSENT.sub("", sentence)
    if first:
        hello = re.match(r"(?:你好|您好|老师好|谢谢|感谢)", kept)
        return None if hello and len(kept) < 24 else kept or None
    if len(kept) < 6 or _SEEKER_DROP.search(kept) or _TO_SUPPORTER.search(kept):
        return None
    return None if _SELF_TALK.match(kept) else kept


def clean_supporter(sentence: str) -> str | None:
    """Return the supporter's sentence as it may stand in a reply, or None to drop it."""
    kept = _ASSENT.sub("", sentence)
    if len(kept) < 5 or _SUPPORTER_DROP.search(kept) or _VETO.search(kept):
        return None
    if _QUESTION.search(kept) and not _REFLECTIVE.search(kept):
        return None
    return kept
