"""Runnables that report nothing to callbacks: what passes through a node holds the person's words.

LangChain reports the input and output of every runnable it runs to the tracers at hand. Our nodes and branches are
wrapped in `Untraced`, which has no run of its own; the agent's root run is kept from tracers by `without_tracers`. A
host that wants content in its traces sets `trace_content`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, set_config_context

Given = TypeVar("Given")
Made = TypeVar("Made")


class Untraced(Runnable[Given, Made]):
    """A runnable over plain functions that fires no callbacks.

    Args:
        run: The sync form.
        arun: The async form; None runs the sync one, which then must not block.
        name: The runnable's name.
    """

    def __init__(
        self,
        run: Callable[[Given, RunnableConfig], Made],
        arun: Callable[[Given, RunnableConfig], Awaitable[Made]] | None = None,
        *,
        name: str,
    ) -> None:
        self.run, self.arun, self.name = run, arun, name

    def invoke(
        self,
        input: Given,
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Made:
        """Call the sync form."""
        given = ensure_config(config)
        # LangGraph calls a branch outside the context its `get_runtime` reads.
        with set_config_context(given) as context:
            return context.run(self.run, input, given)

    async def ainvoke(
        self,
        input: Given,
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Made:
        """Call the async form, or the sync one where there is no other."""
        if self.arun is None:
            return self.invoke(input, config)
        return await self.arun(input, ensure_config(config))
