"""`empathy-agent graph`: the state machine as Mermaid, for documentation and for seeing what a plugin changed."""

from __future__ import annotations


def graph() -> None:
    """Print the graph as Mermaid."""
    from empathy_graph.builder import build_graph

    print(build_graph("fake").get_graph().draw_mermaid())
