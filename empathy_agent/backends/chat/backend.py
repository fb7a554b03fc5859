"""`ChatBackend`: any LangChain chat model behind the backend contract.

A chat model continues no text. Each part of the chain is asked for in words after the conversation, and what comes
back is written as the text of that part, so nodes, transcript and faces are those of every other backend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from empathy_agent.backends.base import Backend
from empathy_agent.backends.chat import conversation
from empathy_agent.backends.requests import Capabilities, Message, Request, Sink
from empathy_agent.errors import ConfigError
from empathy_agent.segments import LAYER_CLOSE, Segment

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from empathy_agent.backends.chat.asker import Layers
    from empathy_agent.backends.chat.plans import Plans
    from empathy_agent.backends.chat.pool import Pool
    from empathy_agent.backends.chat.structured import Structured
    from empathy_agent.backends.chat.tokens import Prices

_QUESTION_TOKENS: Final = 1200
"""What a question takes at most, so that `fit` leaves room for it."""
_MESSAGE_TOKENS: Final = 4
"""What a provider's template adds to a message."""
_CHOICES: Final = {
    "layers": ("together", "one_by_one"),
    "structured": ("auto", "json_schema", "function_calling", "json_mode", "prompt"),
}


class ChatBackend(Backend):
    """A chat model that is asked for the chain in words.

    Sampling, output limits, retries and timeouts are the model's own: give them to its constructor. A request's token
    budget is said in words and kept by cutting; its deadline and cancel event end it at once, even while the provider
    hangs. The model is never closed. No tracer or callback of the host's sees these calls, the model's own included.

    Args:
        model: The chat model.
        layers: `"together"` asks for all layers in one call, `"one_by_one"` for each apart. Together takes far fewer
            calls and input tokens; apart lets each layer's own node decide more, and streams them one by one.
        structured: How fields are asked for; `"auto"` finds out what the model can do.
        prices: Per million input and output tokens, for `Usage.cost` where the provider does not report it.
        context_size: Tokens a call may have in all, as estimated (see `count_tokens`).
        max_parallel: How many calls run at once.
        max_waiting: How many more may wait before they are refused with `BackendBusy`.
        name: The model's name in replies; None takes the model's own.

    Raises:
        ConfigError: `model` is no chat model, or a setting is out of range.
    """

    def __init__(
        self,
        model: BaseChatModel,
        *,
        layers: Layers = "together",
        structured: Structured = "auto",
        prices: Prices | None = None,
        context_size: int = 8192,
        max_parallel: int = 8,
        max_waiting: int = 256,
        name: str | None = None,
    ) -> None:
        # LangChain takes a second to import, which only those pay who have a chat model.
        from empathy_agent.backends.chat.asker import Asker
        from empathy_agent.backends.chat.caller import Caller, check_model
        from empathy_agent.backends.chat.plans import Plans
        from empathy_agent.backends.chat.pool import Pool
        from empathy_agent.backends.chat.structured import StructuredModel

        for setting, value in (("layers", layers), ("structured", structured)):
            if value not in _CHOICES[setting]:
                raise ConfigError(f"{setting!r} must be one of {', '.join(_CHOICES[setting])}")
        if min(context_size, max_parallel, max_waiting) < 1:
            raise ConfigError("context_size, max_parallel and max_waiting must be at least 1")
        if prices is not None and min(prices) < 0:
            raise ConfigError("prices must not be negative; give them per million tokens")
        checked = check_model(model)
        self._caller = Caller(checked, prices)
        self._name = name or _name_of(checked)
        self._fingerprint = hashlib.sha256(f"chat {self._name}".encode()).hexdigest()[:16]
        self._context_size = context_size
        self._max_parallel = max_parallel
        self._plans = Plans()
        asker = Asker(
            self._caller,
            StructuredModel(self._caller, structured),
            self._plans if layers == "together" else None,
            context_size,
            self._fingerprint,
        )
        self._pool = Pool(asker.run, f"empathy-{self._name}", max_parallel, max_waiting)
        self._release_with(partial(_release, self._pool, self._plans))

    @property
    def name(self) -> str:
        """The name given, else the model's own."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """A hash of the name: there are no token ids to reuse."""
        return self._fingerprint

    @property
    def context_size(self) -> int:
        """How many tokens a call may have in all."""
        return self._context_size

    @property
    def capabilities(self) -> Capabilities:
        """What a chat model can promise: quotes are checked, all else is the provider's."""
        return Capabilities(
            ids=False,
            exact_borders=False,
            prefix_cache=False,
            rollback=False,
            chat_template="model",
            control_tags=False,
            parallel_sequences=self._max_parallel,
            guided_quotes=True,
            continues=False,
            min_tokens=False,
            batch_invariant=False,
        )

    @property
    def special_strings(self) -> tuple[str, ...]:
        """None are known: the provider escapes its own."""
        return ()

    def render(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Return the messages between marks that this backend reads back."""
        return conversation.render(messages)

    def count_tokens(self, segments: Sequence[Segment]) -> int:
        """Estimate the tokens of `segments`, the question that will follow them included.

        Four ASCII characters, or one other character, are a token, unless the model has a `custom_get_token_ids`.
        """
        return sum(map(self._count, segments))

    def _count(self, segment: Segment) -> int:
        if not segment.control:
            return self._caller.count(segment.text)
        return _QUESTION_TOKENS if segment.text == conversation.REPLY_MARK else _MESSAGE_TOKENS

    def submit(self, request: Request, sink: Sink) -> None:
        """Queue `request`; one whose chain is under way goes first."""
        closes = LAYER_CLOSE.values()
        is_under_way = any(one.control and one.text in closes for one in request.segments)
        self._pool.submit(request, sink, is_under_way=is_under_way)

    def forget(self) -> None:
        """Drop the layers that were written ahead."""
        self._plans.clear()


def _name_of(model: BaseChatModel) -> str:
    names = (getattr(model, key, None) for key in ("model_name", "model", "model_id"))
    return next((name for name in names if isinstance(name, str) and name), type(model).__name__)


def _release(pool: Pool, plans: Plans) -> None:
    pool.close()
    plans.clear()
