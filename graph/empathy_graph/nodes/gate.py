"""The gate: assess risk, choose the language, render the prompt once. No model runs here.

It opens the turn: whatever the last turn left in the layers is cleared, and the safety floor reads all of the seeker's
messages before anything else happens.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from empathy_agent.backends.fit import fit
from empathy_agent.backends.requests import Message
from empathy_agent.config import Budgets, detect_language
from empathy_agent.errors import ConfigError
from empathy_agent.safety import load_regions
from empathy_agent.segments import ALL_TAGS
from empathy_agent.transcript import render_text
from empathy_agent.vocabulary import Language, LayerName, RiskLevel, max_risk
from empathy_graph.events import RiskAssessed
from empathy_graph.faults import is_raised
from empathy_graph.run import Run
from empathy_graph.state import LAYER_KEYS, EmpathyState, Json, RiskState, TurnState
from empathy_graph.steps import Steps

TAG_TOKENS = 4 * len(ALL_TAGS)
"""Room for the chain's tags and newlines, generous for vocabularies that spell the tags out."""


def gate(run: Run, state: EmpathyState) -> Steps[Json]:
    """Open the turn.

    Raises:
        ConfigError: There is no message of the seeker's to answer, or it holds no text.
        ContextOverflow: Even the shortest form does not fit the model's context.
    """
    load_regions().get(run.settings.region)  # a wrong region must not come to light in a crisis
    messages = state.get("messages") or []
    turns = [str(message.text) for message in messages if isinstance(message, HumanMessage)]
    if not messages or not isinstance(messages[-1], HumanMessage):
        raise ConfigError("the last message must be the person's (a HumanMessage or role 'user')")
    post = turns[-1]
    if not post.strip():
        raise ConfigError("there is no text to answer: the person's message is empty")
    lang = run.settings.lang if run.settings.lang != "auto" else detect_language(post)
    risk = _risk(run, state, turns)
    run.emit(RiskAssessed(level=risk["level"]))
    turn = _turn(run, messages, post, lang, risk["level"])
    return {"turn": turn, "risk": risk, **dict.fromkeys((*LAYER_KEYS, "reply"))}
    yield  # a gate asks no model, yet it is a generator like every node


def _risk(run: Run, state: EmpathyState, turns: Sequence[str]) -> RiskState:
    finding = run.engine.floor(turns)
    level, rules = finding.level, list(finding.rules)
    earlier, count = state.get("risk"), len(turns)
    if earlier and count <= earlier["turns"]:
        # The host dropped turns the level was read from, so it cannot have become calmer by that,
        # now or while fewer turns are here than the level was read from.
        level, count = max_risk(level, earlier["level"]), earlier["turns"]
    return RiskState(level=level, rules=rules, turns=count)


def _turn(
    run: Run, messages: Sequence[AnyMessage], post: str, lang: Language, risk: RiskLevel
) -> TurnState:
    settings = run.settings
    # A remote backend may have to be asked first: nobody in danger waits for that.
    languages = None if risk == "imminent" else run.backend.capabilities.languages
    supported = languages is None or lang in languages
    turn = TurnState(
        lang=lang,
        post=post,
        segments=[],
        warnings=[],
        session=_session(run),
        deadline=None if settings.deadline_s is None else time.monotonic() + settings.deadline_s,
        supported=supported,
        fault=None,
    )
    if risk == "imminent" or not supported:
        return turn
    try:
        fitted = fit(
            run.backend, conversation(run, messages, lang), _reserve(settings.budgets), lang
        )
    except Exception as error:
        if is_raised(run, risk, error):
            raise
        turn["fault"] = type(error).__name__
    else:
        turn["segments"] = [segment.to_json() for segment in fitted.segments]
        turn["warnings"] = list(fitted.warnings)
    return turn


_SALT = secrets.token_bytes(16)


def _session(run: Run) -> str:
    """Name the conversation; a thread id, which may name a person, is hashed with a salt."""
    thread = (run.config.get("configurable") or {}).get("thread_id")
    if thread is None:
        return secrets.token_hex(8)
    return hashlib.blake2b(str(thread).encode(), digest_size=8, salt=_SALT).hexdigest()


def _reserve(budgets: Budgets) -> int:
    tokens: list[int] = list(budgets.model_dump().values())
    return sum(tokens) + TAG_TOKENS


def conversation(run: Run, messages: Sequence[AnyMessage], lang: Language) -> list[Message]:
    """Return the messages the model sees: our system prompt where it needs one, the host's, the turns."""
    seen: list[Message] = []
    prompts, capabilities = run.engine.prompts, run.backend.capabilities
    if not capabilities.control_tags:
        ours = prompts.system(lang) if capabilities.continues else prompts.chat(lang)
        seen.append(Message("system", ours, trusted=True))
    for message in messages:
        text = str(message.text)
        if isinstance(message, HumanMessage):
            seen.append(Message("user", text))
        elif isinstance(message, AIMessage) and text.strip():
            seen.append(Message("assistant", _earlier_reply(run, message, text)))
        elif isinstance(message, SystemMessage):
            seen.append(Message("system", text))
    return seen


def _earlier_reply(run: Run, message: AIMessage, text: str) -> str:
    reply = message.response_metadata.get("empathy")
    if not run.settings.feed_earlier_chains or not isinstance(reply, dict):
        return text
    chain = reply.get("chain") or {}
    layers: dict[LayerName, str] = {
        name: chain[name]["text"] for name in LAYER_KEYS if chain.get(name)
    }
    return render_text(layers, text)
