"""`BackendConformance`: every promise of `backends.base`, as tests over any backend.

What a backend does not claim in its `Capabilities` is skipped, what it claims is checked. The kit
needs no model that makes sense: it compares a backend with itself, greedily.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from empathy_agent.backends.base import Backend
from empathy_agent.testing.continuation import ContinuationKit
from empathy_agent.testing.control import ControlKit
from empathy_agent.testing.hostile import HostileKit


class BackendConformance(ContinuationKit, ControlKit, HostileKit):
    """The whole kit; subclass it and give a fixture `backend`."""

    def test_it_says_what_it_is(self, backend: Backend) -> None:
        """Check the plain properties."""
        assert backend.name
        assert backend.fingerprint
        assert backend.context_size >= 256
        assert backend.capabilities.parallel_sequences >= 1
        json.dumps(asdict(backend.capabilities))
        assert all(backend.special_strings)

    def test_it_is_a_context_manager(self, backend: Backend) -> None:
        """Check that leaving the block closes."""
        with backend as entered:
            assert entered is backend
        assert backend.closed
