"""One implementation for sync and async: a node is a generator that yields `Step`s and is sent `Completion`s.

The generator decides what to ask the model and what to make of it; the two drivers below only carry the request to
the backend and the deltas to the step's listener. Retries, rails and fallbacks are therefore written once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from empathy_agent.backends.base import Backend
from empathy_agent.backends.requests import Completion, Delta, Request

Result = TypeVar("Result")


def _ignore(text: str) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class Step:
    """One request to the model, and who listens to its text as it comes."""

    request: Request
    on_text: Callable[[str], None] = _ignore


Steps = Generator[Step, Completion, Result]


def drive(steps: Steps[Result], backend: Backend) -> Result:
    """Run `steps` to the end from sync code."""
    try:
        step = next(steps)
        while True:
            completion = None
            try:
                for item in backend.stream(step.request):
                    if isinstance(item, Delta):
                        step.on_text(item.text)
                    else:
                        completion = item
            except Exception as error:  # the steps decide: retry, fall back or let it pass
                step = steps.throw(error)
                continue
            assert completion is not None  # `Backend.stream` ends with one or raises
            step = steps.send(completion)
    except StopIteration as done:
        result: Result = done.value
        return result


async def adrive(steps: Steps[Result], backend: Backend) -> Result:
    """Run `steps` to the end from async code."""
    try:
        step = next(steps)
        while True:
            completion = None
            events = backend.astream(step.request)
            try:
                async for item in events:
                    if isinstance(item, Delta):
                        step.on_text(item.text)
                    else:
                        completion = item
            except Exception as error:
                step = steps.throw(error)
                continue
            finally:
                await events.aclose()
            assert completion is not None
            step = steps.send(completion)
    except StopIteration as done:
        result: Result = done.value
        return result
