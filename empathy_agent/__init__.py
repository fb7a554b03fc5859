"""A component that reads what a help-seeker wrote and answers through a Chain-of-Empathy.

This is the public face, and it is lazy: importing it imports nothing else. A name of `__all__` is
loaded from the table below when it is first used, so that a host which only needs the readings
never pays for the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empathy_agent.backends.chat import ChatBackend
    from empathy_agent.backends.completions import CompletionsBackend
    from empathy_agent.backends.llama_cpp import LlamaCppBackend
    from empathy_agent.backends.transformers import TransformersBackend
    from empathy_agent.chain import (
        CauseReading,
        Chain,
        EmotionReading,
        EmpathyReply,
        IntentionReading,
        StrategyReading,
    )
    from empathy_agent.config import Sampling, Settings
    from empathy_agent.errors import (
        BackendBusy,
        BackendCancelled,
        BackendError,
        BackendTimeout,
        BackendUnavailable,
        ConfigError,
        ContextOverflow,
        EmpathyAgentError,
        NodeRunError,
        OutputParseError,
        PluginContractError,
        PluginError,
        PluginNotFound,
        TrainingDataError,
    )
    from empathy_graph.agent import EmpathyAgent
    from empathy_graph.builder import build_graph

__version__ = "0.1.0"

__all__ = [
    "BackendBusy",
    "BackendCancelled",
    "BackendError",
    "BackendTimeout",
    "BackendUnavailable",
    "CauseReading",
    "Chain",
    "ChatBackend",
    "CompletionsBackend",
    "ConfigError",
    "ContextOverflow",
    "EmotionReading",
    "EmpathyAgent",
    "EmpathyAgentError",
    "EmpathyReply",
    "IntentionReading",
    "LlamaCppBackend",
    "NodeRunError",
    "OutputParseError",
    "PluginContractError",
    "PluginError",
    "PluginNotFound",
    "Sampling",
    "Settings",
    "StrategyReading",
    "TrainingDataError",
    "TransformersBackend",
    "build_graph",
]

_EXPORTS: dict[str, str] = {
    "BackendBusy": "empathy_agent.errors:BackendBusy",
    "BackendCancelled": "empathy_agent.errors:BackendCancelled",
    "BackendError": "empathy_agent.errors:BackendError",
    "BackendTimeout": "empathy_agent.errors:BackendTimeout",
    "BackendUnavailable": "empathy_agent.errors:BackendUnavailable",
    "CauseReading": "empathy_agent.chain:CauseReading",
    "Chain": "empathy_agent.chain:Chain",
    "ChatBackend": "empathy_agent.backends.chat:ChatBackend",
    "CompletionsBackend": "empathy_agent.backends.completions:CompletionsBackend",
    "ConfigError": "empathy_agent.errors:ConfigError",
    "ContextOverflow": "empathy_agent.errors:ContextOverflow",
    "EmotionReading": "empathy_agent.chain:EmotionReading",
    "EmpathyAgent": "empathy_graph.agent:EmpathyAgent",
    "EmpathyAgentError": "empathy_agent.errors:EmpathyAgentError",
    "EmpathyReply": "empathy_agent.chain:EmpathyReply",
    "IntentionReading": "empathy_agent.chain:IntentionReading",
    "LlamaCppBackend": "empathy_agent.backends.llama_cpp:LlamaCppBackend",
    "NodeRunError": "empathy_agent.errors:NodeRunError",
    "OutputParseError": "empathy_agent.errors:OutputParseError",
    "PluginContractError": "empathy_agent.errors:PluginContractError",
    "PluginError": "empathy_agent.errors:PluginError",
    "PluginNotFound": "empathy_agent.errors:PluginNotFound",
    "Sampling": "empathy_agent.config:Sampling",
    "Settings": "empathy_agent.config:Settings",
    "StrategyReading": "empathy_agent.chain:StrategyReading",
    "TrainingDataError": "empathy_agent.errors:TrainingDataError",
    "TransformersBackend": "empathy_agent.backends.transformers:TransformersBackend",
    "build_graph": "empathy_graph.builder:build_graph",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module when it is first used."""
    target = _EXPORTS.get(name)
    if target is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = target.partition(":")
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
