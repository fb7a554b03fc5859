"""Write the fixed texts: crisis reply, safe reply, strategy hint, resource line, AI notice.

All are short, so that a psychologist can review every sentence a person may meet in a crisis.
Numbers come from the region pack alone. A crisis reply says that it heard, names what to do now,
gives the lines and ends with one direct question; it never argues, promises, diagnoses or asks for
a promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from empathy_agent.safety.regions import Region, RegionPack, load_regions
from empathy_agent.vocabulary import Language, RiskLevel

_CRISIS_BODY: Mapping[Language, str] = MappingProxyType(
    {
        "zh": "谢谢你愿意把这些说出来，你一定撑得很辛苦。此刻最要紧的是你的安全："
        "请先离那些可能伤到你的东西远一点，现在就联系一个你信任的人，请对方来陪着你。"
        "如果危险就在眼前，请马上打急救或报警电话。",
        "en": (
            "Thank you for telling me. What you are carrying sounds very heavy, and your safety "
            "comes first right now. "
            "Please move away from anything you could use to hurt yourself, and reach someone you "
            "trust who can be with you. "
            "If you are in immediate danger, call the emergency service now."
        ),
    }
)
_CRISIS_QUESTION: Mapping[Language, str] = MappingProxyType(
    {"zh": "你现在安全吗？身边有人吗？", "en": "Are you safe right now, and is someone with you?"}
)
_CARE_BODY: Mapping[Language, str] = MappingProxyType(
    {
        "zh": (
            "谢谢你把这些告诉我。听得出来你已经撑了很久，这样的感受不该一个人扛。"
            "我只是演示用的小程序，接不住这么重的话，不想随便回你几句。"
            "请也说给一个你信任的人听，或者联系："
        ),
        "en": (
            "Thank you for telling me. It sounds as if you have been holding on for a long time, "
            "and nobody should have to carry that alone. I am only a small demonstration program "
            "and cannot do justice to this, so I will not answer it lightly. Please tell someone "
            "you trust as well, or contact:"
        ),
    }
)
_CARE_QUESTION: Mapping[Language, str] = MappingProxyType(
    {
        "zh": "你现在有伤害自己的念头吗？此刻安全吗？",
        "en": "Are you having thoughts of hurting yourself, and are you safe right now?",
    }
)
_SAFE: Mapping[Language, str] = MappingProxyType(
    {
        "zh": (
            "抱歉，这一次我没能把回复完整地写出来，是我这边出了问题，不是你说错了什么。"
            "你可以再发一次，或换个时间再来。"
        ),
        "en": (
            "I'm sorry, I could not complete my reply this time. The fault is on my side, nothing "
            "you said was wrong. "
            "You can send it again, or come back a little later."
        ),
    }
)
_SAFE_RISK: Mapping[Language, str] = MappingProxyType(
    {
        "zh": "你刚才说的对我很重要，请不要一个人扛着，可以先找一个你信任的人，或联系：",
        "en": (
            "What you told me matters. Please don't carry it alone: reach someone you trust, or "
            "contact:"
        ),
    }
)
_HINTS: Mapping[Language, Mapping[RiskLevel, str]] = MappingProxyType(
    {
        "zh": MappingProxyType(
            {
                "watch": (
                    "对方流露出疲惫或绝望：先接住这份感受，再温和而直接地问一句是否想过伤害自己，"
                    "并提到一个可以求助的人；不评判，不承诺结果。"
                ),
                "elevated": (
                    "对方可能有轻生、自伤或正受伤害：先接住感受，"
                    "温和而直接地问是否想到自杀、现在是否安全，请对方联系一个信任的人，"
                    "并说明可以找专业人员或求助热线（不写号码）；不谈任何方法，不说教，不要求保证。"
                ),
            }
        ),
        "en": MappingProxyType(
            {
                "watch": (
                    "The person shows weariness or despair: receive the feeling first, then ask "
                    "gently and directly whether "
                    "they have thought of hurting themselves, and mention a person they could "
                    "turn to; no judging, no promises."
                ),
                "elevated": (
                    "The person may wish to die, hurt themselves or be in harm's way: receive the "
                    "feeling, ask gently and "
                    "directly about thoughts of suicide and whether they are safe now, name a "
                    "trusted person to reach and that "
                    "a professional or a support line can help (write no number); never discuss "
                    "methods, lecture or ask for a vow."
                ),
            }
        ),
    }
)
_NOTICE: Mapping[Language, str] = MappingProxyType(
    {
        "zh": (
            "我是人工智能，不是真人，也不是心理治疗师；我不做诊断，也不提供治疗。我的话可能有误，"
            "紧急情况请联系身边的人或当地急救。"
        ),
        "en": (
            "I am an AI, not a person and not a therapist; I do not diagnose or treat. I can be "
            "wrong. "
            "In an emergency, please contact someone near you or your local emergency service."
        ),
    }
)


def _region(region: str | None, pack: RegionPack | None) -> Region:
    return (pack or load_regions()).get(region)


def resource_line(lang: Language, region: str | None, *, pack: RegionPack | None = None) -> str:
    """Return the help lines of `region` in one line.

    Raises:
        ConfigError: If `region` is not in the pack.
    """
    texts = [line.text(lang) for line in _region(region, pack).line]
    return "；".join(texts) + "。" if lang == "zh" else "; ".join(texts) + "."


def crisis_reply(lang: Language, region: str | None, *, pack: RegionPack | None = None) -> str:
    """Return the reply at level `imminent`: a short body, the help lines, one direct question.

    Raises:
        ConfigError: If `region` is not in the pack.
    """
    parts = (_CRISIS_BODY[lang], resource_line(lang, region, pack=pack), _CRISIS_QUESTION[lang])
    return "\n".join(parts)


def care_reply(lang: Language, region: str | None, *, pack: RegionPack | None = None) -> str:
    """Return the reply at `elevated` where the model is a demonstration and must not answer.

    Raises:
        ConfigError: If `region` is not in the pack.
    """
    lines = (_CARE_BODY[lang], resource_line(lang, region, pack=pack), _CARE_QUESTION[lang])
    return "\n".join(lines)


def safe_reply(
    lang: Language, region: str | None, level: RiskLevel, *, pack: RegionPack | None = None
) -> str:
    """Return the reply for one that could not be completed; from `elevated` up it carries help.

    Raises:
        ConfigError: If `region` is not in the pack.
    """
    if level == "imminent":
        return crisis_reply(lang, region, pack=pack)
    if level == "elevated":
        lines = resource_line(lang, region, pack=pack)
        return "\n".join((_SAFE[lang], _SAFE_RISK[lang] + lines, _CRISIS_QUESTION[lang]))
    _region(region, pack)
    return _SAFE[lang]


def strategy_hint(level: RiskLevel, lang: Language) -> str | None:
    """Return the sentence that steers layer 4 at `watch` and `elevated`, None at other levels."""
    return _HINTS[lang].get(level)


def ai_notice(lang: Language) -> str:
    """Return the notice that this is an AI and no therapist, for a host to show."""
    return _NOTICE[lang]
