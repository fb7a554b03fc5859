"""The public face is complete, sorted and light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import empathy_agent
from empathy_agent import errors

HEAVY = ("torch", "langgraph", "transformers", "llama_cpp", "pydantic", "langchain_core")
OWN = [name for name, target in empathy_agent._EXPORTS.items() if "empathy_agent." in target]


def imported_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not imported_by("import empathy_agent; empathy_agent.ConfigError") & set(HEAVY)


def test_the_contracts_need_pydantic_at_most() -> None:
    rooms = "chain, config, errors, layer_text, registry, segments, splitter, transcript"
    assert imported_by(f"from empathy_agent import {rooms}") & set(HEAVY) == {"pydantic"}


def test_the_exported_names_are_sorted_and_agree_with_the_table() -> None:
    assert empathy_agent.__all__ == sorted(empathy_agent.__all__)
    assert list(empathy_agent._EXPORTS) == empathy_agent.__all__
    assert set(empathy_agent.__all__) <= set(dir(empathy_agent))


@pytest.mark.parametrize("name", OWN)
def test_every_name_of_this_room_loads(name: str) -> None:
    assert getattr(empathy_agent, name).__name__ == name


def test_every_error_is_exported() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EmpathyAgentError)
    }
    assert found <= set(empathy_agent.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        empathy_agent.__getattr__("nonsense")
