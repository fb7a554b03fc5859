"""Which models there are and how to get at them: the embedded one, the catalogue, the hub.

`specs` reads what a person writes, `resolver` opens it; `hub_spec` (what `hf:` means), `hub` and its
parts fetch; `catalogue` lists models worth trying, `command` is `empathy-agent models`.
"""
