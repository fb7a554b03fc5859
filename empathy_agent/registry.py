"""Find what others plug in: nodes and risk detectors, by object, path or entry-point name.

A plugin is an ordinary distribution with an entry point in `empathy_agent.nodes` or
`empathy_agent.detectors`; nothing is scanned, nothing registers itself by being imported. Entry
points are read once, when first asked for. Two distributions that claim one name are an error
that names both, never a silent rename.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from empathy_agent.errors import PluginContractError, PluginError, PluginNotFound, boundary

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

NODES: Final = "empathy_agent.nodes"
"""Entry-point group of graph nodes."""
DETECTORS: Final = "empathy_agent.detectors"
"""Entry-point group of risk detectors; all that are installed run."""


@lru_cache
def entry_points(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points of `group` by name; tests call `entry_points.cache_clear()`."""
    # Imported here: importlib.metadata costs more than the rest of this package together.
    from importlib import metadata

    found: dict[str, list[EntryPoint]] = {}
    for point in metadata.entry_points(group=group):
        claims = found.setdefault(point.name, [])
        if (_owner(point), point.value) not in {(_owner(one), one.value) for one in claims}:
            claims.append(point)
    return {name: tuple(claims) for name, claims in sorted(found.items())}


def load_object(spec: str) -> object:
    """Import the object that `"module:attr"` names; `attr` may be dotted.

    Raises:
        PluginNotFound: There is no such module or attribute.
        PluginError: Importing the module failed.
    """
    module_name, separator, path = spec.partition(":")
    if not (separator and module_name and path):
        raise PluginNotFound(f"{spec!r} is no object path; write 'module:attr'")
    target: object = _import(module_name)
    for attribute in path.split("."):
        if not hasattr(target, attribute):
            hint = _near(attribute, dir(target))
            raise PluginNotFound(f"{spec!r}: there is no {attribute!r} in {module_name!r}; {hint}")
        target = getattr(target, attribute)
    return target


def _import(module_name: str) -> object:
    missing: str | None = None
    with boundary(PluginError, f"importing {module_name!r}"):
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
    if module_name == missing or module_name.startswith(f"{missing}."):
        raise PluginNotFound(f"there is no module {module_name!r}; install it or correct the name")
    raise PluginError(f"{module_name!r} needs the module {missing!r}; install it")


def resolve_node(spec: object, role: str) -> object:
    """Return the node that `spec` stands for.

    Args:
        spec: The node itself, `"module:attr"`, or an entry-point name in `empathy_agent.nodes`. A
            class that a text names is instantiated without arguments.
        role: The state key the node fills (`"emotion"`, …); a node with a `role` attribute of its
            own must agree.

    Raises:
        PluginNotFound: Nothing answers to that name.
        PluginError: Two distributions claim it, or loading it failed.
        PluginContractError: What was found cannot be a node of this role.
    """
    node: object = spec
    if isinstance(spec, str):
        node = load_object(spec) if ":" in spec else _load(_claimed(NODES, spec))
        if isinstance(node, type):
            with boundary(PluginContractError, f"building the {role} node {spec!r}"):
                node = node()
    if not (callable(node) or callable(getattr(node, "invoke", None))):
        kind = type(node).__name__
        raise PluginContractError(
            f"the {role} node is a {kind}; give a callable, 'module:attr' or a plugin's name"
        )
    own = getattr(node, "role", None)
    if isinstance(own, str) and own != role:
        raise PluginContractError(f"this node fills {own!r}, but was given for {role!r}")
    return node


def detectors() -> dict[str, object]:
    """Load every installed risk detector, by name.

    Raises:
        PluginError: Two distributions claim one name, or loading one failed.
    """
    return {name: _load(_claimed(DETECTORS, name)) for name in entry_points(DETECTORS)}


def _claimed(group: str, name: str) -> EntryPoint:
    known = entry_points(group)
    claims = known.get(name, ())
    if not claims:
        raise PluginNotFound(f"no plugin {name!r} in {group!r}; {_near(name, known)}")
    if len(claims) > 1:
        owners = " and ".join(repr(_owner(point)) for point in claims)
        raise PluginError(f"{owners} both claim {name!r} in {group!r}; uninstall one")
    return claims[0]


def _load(point: EntryPoint) -> object:
    return load_object(point.value.partition("[")[0].strip())


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "(unknown distribution)"


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(one for one in known if not one.startswith("_"))
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names[:20])}" if names else "nothing is installed there"
