"""`BackendConformance`: every promise of `backends.base`, as tests over any backend.

What a backend does not claim in its `Capabilities` is skipped, what it claims is checked. The kit
needs no model that makes sense: it compares a backend with itself, greedily. It only needs one that
is not too quick to be interrupted: a scripted model must take a tenth of a second for 400 tokens,
and one that is asked in words as long for the answer, which it must give in several pieces.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import ClassVar

from empathy_agent.backends.base import Backend
from empathy_agent.testing.continuation import ContinuationKit
from empathy_agent.testing.control import ControlKit
from empathy_agent.testing.hostile import HostileKit
from empathy_agent.testing.sharing import SharingKit


class BackendConformance(HostileKit, ControlKit, SharingKit, ContinuationKit):
    """The whole kit; subclass it and give a fixture `backend`."""

    label: ClassVar[str] = ""
    """What the table calls this backend; empty for the class's name."""

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
