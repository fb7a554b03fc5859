"""The errors a caller can act on, and `boundary`, which classifies foreign exceptions once.

    EmpathyAgentError
      ConfigError               a setting is wrong; the message names it and says what to set
      PluginError
        PluginNotFound          no plugin of that name
        PluginContractError     a plugin broke its contract
      BackendError              the model failed; `.retryable` says whether trying again makes sense
        BackendUnavailable      it cannot be reached or loaded
        BackendBusy             too many requests wait for it already
        BackendTimeout          the deadline passed
        BackendCancelled        the caller cancelled
        ContextOverflow         the input cannot fit the model's context
      NodeRunError              a graph node failed; `.node` names it
      OutputParseError          a strict parse failed; `.node` names the layer
      TrainingDataError         a corpus or record is unusable

No message ever holds a person's words: foreign exceptions are named by their type alone, and `boundary` cuts their
chain, because their texts, notes and locals may quote the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class EmpathyAgentError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(EmpathyAgentError):
    """A setting or an input is unusable; the message says what to change."""


class PluginError(EmpathyAgentError):
    """A plugin cannot be used."""


class PluginNotFound(PluginError):
    """No plugin answers to the name asked for."""


class PluginContractError(PluginError):
    """A plugin does not keep its contract."""


class BackendError(EmpathyAgentError):
    """The model behind a backend failed."""

    retryable: bool = False
    """Whether the same call may succeed when it is made again."""


class BackendUnavailable(BackendError):
    """The model cannot be loaded or reached."""


class BackendBusy(BackendError):
    """Too many requests wait for the model already; come back later."""

    retryable = True


class BackendTimeout(BackendError):
    """The deadline passed before the model was done."""

    retryable = True


class BackendCancelled(BackendError):
    """The caller's cancel event was set."""


class ContextOverflow(BackendError):
    """The input cannot fit the model's context, even after the documented cuts."""


class NodeRunError(EmpathyAgentError):
    """A graph node failed; `.node` names it."""

    def __init__(self, message: str, *, node: str) -> None:
        super().__init__(message)
        self.node = node


class OutputParseError(EmpathyAgentError):
    """A strict parse of a transcript failed; `.node` names the part, the text itself is withheld."""

    def __init__(self, message: str, *, node: str) -> None:
        super().__init__(message)
        self.node = node


class TrainingDataError(EmpathyAgentError):
    """A corpus, a record or a recipe's data setting cannot be used."""


@contextmanager
def boundary(error: type[EmpathyAgentError], what: str, **fields: str) -> Iterator[None]:
    """Turn any foreign exception that leaves the block into `error`, without its text.

    Errors of our own pass unchanged. The foreign exception is named by type only and its chain is cut, since its
    message or locals may hold a person's words.

    Args:
        error: The class to raise.
        what: What was being done, in words that quote nobody ("loading the model file").
        **fields: Extra keyword arguments of `error` (`node=` for `NodeRunError`).
    """
    try:
        yield
    except EmpathyAgentError:
        raise
    except Exception as caught:
        kind = type(caught).__name__
    else:
        return
    raised = error(
        f"{what} failed with {kind}; its text is withheld because it may quote the input", **fields
    )
    try:
        raise raised
    finally:
        # `contextmanager` resumes this generator inside its own handler, which Python would note down here.
        raised.__context__ = None
