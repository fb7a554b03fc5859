"""Conformance kits: ten lines in a plugin author's test file give the whole suite.

    from empathy_agent.testing import BackendConformance

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def backend(self) -> Iterator[Backend]:
            with MyBackend() as backend:
                yield backend

`pytest -p empathy_agent.testing.table --conformance-table` shows which checks passed, per backend.
pytest is needed only when a kit is asked for; nothing of the product imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from empathy_agent.testing.backend import BackendConformance

__all__ = ["BackendConformance"]

_PARTS = ("backend", "continuation", "control", "hostile", "kit", "sharing")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import sys

    import pytest

    parts = (f"{__name__}.{part}" for part in _PARTS)
    # pytest warns about a module it can no longer rewrite; one imported by itself stays as it is.
    pytest.register_assert_rewrite(*(part for part in parts if part not in sys.modules))
    from empathy_agent.testing import backend

    return getattr(backend, name)
