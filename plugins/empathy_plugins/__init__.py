"""First-party plugins: nodes and detectors that use the same entry points as anybody's.

Empty until the plugin seam is filled; the package holds its place in the layout (docs/decisions/0001-layout.md).
"""
