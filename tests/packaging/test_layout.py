"""The layout of decision 0001, as far as the checkout alone shows it."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import re
import tomllib
from pathlib import Path

import pytest

PACKAGES = {
    "empathy_agent": "empathy_agent",
    "empathy_graph": "graph/empathy_graph",
    "empathy_trainers": "trainers/empathy_trainers",
    "empathy_plugins": "plugins/empathy_plugins",
}


def export_order(name: str) -> tuple[int, str]:
    """Order exported names as ruff's RUF022 does: constants, then classes, then functions."""
    if name.isupper():
        return (0, name)
    return (1 if name[:1].isupper() else 2, name)


def exported_names(module: Path) -> list[str] | None:
    """Return the literal `__all__` of a module, or None where there is none."""
    for statement in ast.parse(module.read_text("utf-8")).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(each, ast.Name) and each.id == "__all__" for each in targets):
                try:
                    return list(ast.literal_eval(statement.value)) if statement.value else None
                except ValueError:
                    return None
    return None


@pytest.mark.parametrize("root", ["graph", "trainers", "plugins", "tests"])
def test_a_source_root_is_no_package_itself(root: str, repository: Path) -> None:
    assert not (repository / root / "__init__.py").exists()


@pytest.mark.parametrize("folder", PACKAGES.values())
def test_a_package_is_typed_and_has_an_init(folder: str, repository: Path) -> None:
    assert (repository / folder / "py.typed").is_file()
    assert (repository / folder / "__init__.py").is_file()


@pytest.mark.parametrize("folder", PACKAGES.values())
def test_every_list_of_exports_is_sorted(folder: str, repository: Path) -> None:
    for module in (repository / folder).rglob("*.py"):
        names = exported_names(module)
        if names is not None:
            assert names == sorted(names, key=export_order), module.relative_to(repository)


def test_constraints_pin_every_requirement_and_name_no_host(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line) for line in pins)
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    names = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower() for line in wanted}
    assert names <= {line.split("==")[0] for line in pins}


def test_every_command_that_is_registered_can_be_loaded() -> None:
    commands = importlib.metadata.entry_points(group="empathy_agent.commands")
    assert {"ask", "chat", "doctor", "graph", "models"} <= commands.names
    for command in commands:
        assert callable(command.load()), command.name
