"""Plugins are found by object, path or name, and every failure names what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from empathy_agent import registry
from empathy_agent.errors import PluginContractError, PluginError, PluginNotFound

MODULE = """
role = "emotion"
def read(state): return {"emotion": {}}
def detect(text): return "none"
class Node:
    role = "cause"
    def __call__(self, state): return {}
class Greedy:
    def __init__(self, model): ...
constant = 3
"""


class Plugins:
    """Distributions on a path of their own, as an installer would leave them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(self, name: str, group: str, **points: str) -> None:
        info = self.root / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{point} = {target}" for point, target in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        registry.entry_points.cache_clear()


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    (tmp_path / "plugin_under_test.py").write_text(MODULE)
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('我想死')")
    (tmp_path / "needy_plugin.py").write_text("import module_that_nobody_has")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.entry_points.cache_clear()
    yield Plugins(tmp_path)
    registry.entry_points.cache_clear()
    for name in ("plugin_under_test", "broken_plugin", "needy_plugin"):
        sys.modules.pop(name, None)


def test_an_object_is_its_own_node() -> None:
    def node(state: object) -> dict[str, object]:
        return {}

    assert registry.resolve_node(node, "emotion") is node


def test_a_runnable_needs_only_invoke() -> None:
    class Runnable:
        def invoke(self, state: object) -> object:
            return state

    node = Runnable()
    assert registry.resolve_node(node, "cause") is node


def test_a_path_is_imported(plugins: Plugins) -> None:
    node = registry.resolve_node("plugin_under_test:read", "emotion")
    assert callable(node)
    assert registry.load_object("plugin_under_test:Node.role") == "cause"


def test_a_class_is_instantiated(plugins: Plugins) -> None:
    node = registry.resolve_node("plugin_under_test:Node", "cause")
    assert type(node).__name__ == "Node"


def test_an_entry_point_is_found_by_name(plugins: Plugins) -> None:
    plugins.install("first", registry.NODES, lexicon="plugin_under_test:read")
    assert registry.resolve_node("lexicon", "emotion") is registry.load_object(
        "plugin_under_test:read"
    )


def test_an_unknown_name_gets_a_near_one(plugins: Plugins) -> None:
    plugins.install("first", registry.NODES, lexicon="plugin_under_test:read")
    with pytest.raises(PluginNotFound, match=r"no plugin 'lexikon'.*did you mean 'lexicon'\?"):
        registry.resolve_node("lexikon", "emotion")


def test_two_distributions_that_claim_one_name_are_both_named(plugins: Plugins) -> None:
    plugins.install("first", registry.NODES, lexicon="plugin_under_test:read")
    plugins.install("second", registry.NODES, lexicon="plugin_under_test:Node")
    with pytest.raises(PluginError, match=r"'(first|second)' and '(first|second)' both claim"):
        registry.resolve_node("lexicon", "emotion")


@pytest.mark.parametrize("spec", ["plugin_under_test:", ":read", "no_such_module_here:x"])
def test_a_path_that_leads_nowhere_is_not_found(plugins: Plugins, spec: str) -> None:
    with pytest.raises(PluginNotFound):
        registry.resolve_node(spec, "emotion")


def test_a_missing_attribute_gets_a_near_one(plugins: Plugins) -> None:
    with pytest.raises(PluginNotFound, match=r"no 'raed' in .*did you mean 'read'\?"):
        registry.load_object("plugin_under_test:raed")


def test_a_module_that_fails_to_import_is_named_without_its_words(plugins: Plugins) -> None:
    with pytest.raises(PluginError, match="'broken_plugin' failed with RuntimeError") as caught:
        registry.load_object("broken_plugin:node")
    assert "我想死" not in str(caught.value)


def test_a_missing_dependency_of_a_plugin_is_named(plugins: Plugins) -> None:
    with pytest.raises(PluginError, match="needs the module 'module_that_nobody_has'") as caught:
        registry.load_object("needy_plugin:node")
    assert not isinstance(caught.value, PluginNotFound)


@pytest.mark.parametrize("attribute", ["constant", "Greedy"])
def test_what_cannot_be_a_node_breaks_the_contract(plugins: Plugins, attribute: str) -> None:
    with pytest.raises(PluginContractError):
        registry.resolve_node(f"plugin_under_test:{attribute}", "emotion")


def test_a_node_of_another_role_breaks_the_contract(plugins: Plugins) -> None:
    with pytest.raises(PluginContractError, match="fills 'cause', but was given for 'emotion'"):
        registry.resolve_node("plugin_under_test:Node", "emotion")


def test_every_detector_is_loaded(plugins: Plugins) -> None:
    before = set(registry.detectors())
    plugins.install(
        "third",
        registry.DETECTORS,
        slang="plugin_under_test:detect",
        pinyin="plugin_under_test:detect",
    )
    assert set(registry.detectors()) - before == {"slang", "pinyin"}


def test_two_detectors_of_one_name_are_an_error(plugins: Plugins) -> None:
    plugins.install("third", registry.DETECTORS, slang="plugin_under_test:detect")
    plugins.install("fourth", registry.DETECTORS, slang="plugin_under_test:read")
    with pytest.raises(PluginError, match="both claim 'slang'"):
        registry.detectors()
