"""`boundary`: a foreign exception becomes one of ours, and nothing of its text comes along."""

from __future__ import annotations

import traceback

import pytest

from empathy_agent.errors import BackendError, ConfigError, NodeRunError, boundary


def test_the_text_of_a_foreign_exception_stays_behind() -> None:
    with pytest.raises(BackendError) as caught, boundary(BackendError, "loading"):
        raise ValueError("桔梗")
    error = caught.value
    assert error.__cause__ is error.__context__ is None
    assert "桔梗" not in "".join(traceback.format_exception(error))
    assert "loading failed with ValueError" in str(error)


def test_an_error_of_ours_passes_as_it_is() -> None:
    ours = ConfigError("set it")
    with pytest.raises(ConfigError) as caught, boundary(BackendError, "loading"):
        raise ours
    assert caught.value is ours


def test_fields_reach_the_error() -> None:
    with pytest.raises(NodeRunError) as caught, boundary(NodeRunError, "running", node="cause"):
        raise KeyError
    assert caught.value.node == "cause"
