"""Run one bench: `python -m bench [NAME] [ITS OPTIONS]`, where NAME is one of `BENCHES`.

Without a name it is `serial`, the comparisons behind `make bench`. Each is a module of that name, with `--help`.
"""

from __future__ import annotations

import runpy
import sys

BENCHES = (
    "serial",
    "concurrency",
    "soak",
    "invariance",
    "parity",
    "faults",
    "chat_layers",
    "training",
    "llama_server",
)


def main() -> None:
    """Run the bench that the first argument names."""
    name = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in BENCHES else "serial"
    runpy.run_module(f"bench.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
