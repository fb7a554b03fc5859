"""What one request comes to: a layer asked for as fields and written as text, or a text streamed.

With `layers="together"` the first layer's request asks for all that are still to be written, and the later ones are
served from that plan as long as the transcript goes on from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Literal

from empathy_agent.backends.chat.answer import Cleaner
from empathy_agent.backends.chat.caller import Caller, untraced
from empathy_agent.backends.chat.conversation import Asked, read
from empathy_agent.backends.chat.plans import Plans
from empathy_agent.backends.chat.pool import Call
from empathy_agent.backends.chat.shapes import Form
from empathy_agent.backends.chat.structured import StructuredModel
from empathy_agent.backends.chat.tokens import Meter
from empathy_agent.backends.chat.wording import layers_question, text_question
from empathy_agent.backends.requests import Completion, Message
from empathy_agent.chain import Usage
from empathy_agent.errors import ContextOverflow
from empathy_agent.segments import ANSWER_OPEN, THINK_OPEN
from empathy_agent.splitter import StopScanner
from empathy_agent.vocabulary import LAYERS, LayerName

Layers = Literal["together", "one_by_one"]


class Asker:
    """Answers requests with a chat model.

    Args:
        caller: The model.
        structured: The same model, asked for fields.
        plans: Where layers that are written ahead are kept, or None to ask for one at a time.
        context_size: Tokens that a call may have in all.
        fingerprint: Of the completions.
    """

    def __init__(
        self,
        caller: Caller,
        structured: StructuredModel,
        plans: Plans | None,
        context_size: int,
        fingerprint: str,
    ) -> None:
        self._caller, self._structured = caller, structured
        self._plans = plans
        self._context_size = context_size
        self._fingerprint = fingerprint

    def run(self, call: Call) -> Completion:
        """Return the completion of `call`, its text sent before."""
        asked = read(call.request)
        with untraced():
            if asked.part in LAYERS:
                return self._layer(call, asked, asked.part)
            return self._text(call, asked)

    def _layer(self, call: Call, asked: Asked, name: LayerName) -> Completion:
        text = self._plans.take(call.request.session, asked) if self._plans is not None else None
        usage = Usage()
        if text is None:
            names = self._wanted(asked, name)
            form = Form(names, asked.lang, asked.post, asked.written)

            def ask(
                schema: Mapping[str, object] | None, problems: Sequence[str]
            ) -> Sequence[Message]:
                question = layers_question(asked, names, schema, problems)
                return self._fitting(call, asked, question)

            texts, usage = self._structured.ask(form, ask, call.check, name)
            if self._plans is not None and len(texts) > 1:
                self._plans.keep(call.request.session, asked, texts)
            text = texts[name]
        text, finish = _bounded(call, _gap(asked) + text)
        call.send(text)
        return Completion(text, (), finish, usage, self._fingerprint)

    def _wanted(self, asked: Asked, name: LayerName) -> Sequence[LayerName]:
        """Return the layers to ask for: only this one where it has been begun already."""
        if self._plans is None or asked.written:
            return (name,)
        return LAYERS[LAYERS.index(name) :]

    def _text(self, call: Call, asked: Asked) -> Completion:
        if self._plans is not None:
            self._plans.drop(call.request.session, asked)
        budget = call.request.max_new_tokens
        messages = self._fitting(call, asked, text_question(asked, budget))
        wrapper = THINK_OPEN if asked.part == "single_pass" else ANSWER_OPEN
        cleaner = Cleaner(call.request.stop, wrapper, budget)
        usages: list[Usage] = []
        is_cut = False
        with closing(self._caller.stream(messages, usages)) as pieces:
            for piece in pieces:
                is_cut = is_cut or piece.is_cut
                if not call.send(cleaner.feed(piece.text)) or cleaner.finish:
                    break
        call.send(cleaner.close())
        finish = cleaner.finish or ("length" if is_cut else "eos")
        return Completion(cleaner.text, (), finish, usages[0], self._fingerprint)

    def _fitting(self, call: Call, asked: Asked, question: str) -> Sequence[Message]:
        messages = (*asked.messages, Message("user", question))
        used = sum(self._caller.count(one.content) for one in messages)
        if used + call.request.max_new_tokens > self._context_size:
            raise ContextOverflow(
                "the conversation and what is to be written do not fit the model's context; open "
                "the backend with the model's real context_size, or lower the token budgets"
            )
        return messages


def _gap(asked: Asked) -> str:
    """Return what parts the text from what its node has written already."""
    is_open = asked.written and not asked.written[-1].isspace()
    return " " if is_open and asked.lang == "en" else ""


def _bounded(call: Call, text: str) -> tuple[str, Literal["stop", "length"]]:
    """Return the text up to a stop string or its budget, and which it was."""
    scanner, meter = StopScanner(call.request.stop), Meter(call.request.max_new_tokens)
    passed, _ = scanner.feed(text)
    kept = meter.take(passed + scanner.flush())
    return kept, "length" if meter.is_empty else "stop"
