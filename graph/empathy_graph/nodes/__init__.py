"""The nodes of the graph, one file each, named by what they write.

A node is a generator `(run, state) -> Steps[update]`; `wiring` turns it into a LangGraph node.
"""
