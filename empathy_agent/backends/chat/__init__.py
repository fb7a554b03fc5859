"""A chat-only model behind the backend contract: asked for each part in words, read back as text of the transcript.

A request's segments are read back into messages, written layers and the part that is asked for (`conversation`), which
is put in words (`wording`). Layers are asked for as structured output where the model has it (`structured`, `shapes`)
and written as canonical layer text; the answer is streamed and cleaned (`answer`). `asker` ties these together, `pool`
runs requests in threads that the caller never waits for longer than it wants to, and `caller` is the one module that
speaks to LangChain: no tracer, callback or cache of the host's sees a word.
"""

from __future__ import annotations

from empathy_agent.backends.chat.backend import ChatBackend

__all__ = ["ChatBackend"]
