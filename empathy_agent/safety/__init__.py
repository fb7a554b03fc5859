"""The safety floor: risk of a person's words, what to say about it, and what a model must not say.

Nothing here needs a model, a network or a graph. `assess_history` runs before any generation,
`policy` holds the fixed texts, `OutputRail` sits between a model and the person.
"""

from empathy_agent.safety.floor import RiskFinding, assess, assess_history
from empathy_agent.safety.policy import (
    ai_notice,
    care_reply,
    crisis_reply,
    resource_line,
    safe_reply,
    strategy_hint,
)
from empathy_agent.safety.rail import OutputRail, screen
from empathy_agent.safety.regions import HelpLine, Region, RegionPack, load_regions

__all__ = [
    "HelpLine",
    "OutputRail",
    "Region",
    "RegionPack",
    "RiskFinding",
    "ai_notice",
    "assess",
    "assess_history",
    "care_reply",
    "crisis_reply",
    "load_regions",
    "resource_line",
    "safe_reply",
    "screen",
    "strategy_hint",
]
