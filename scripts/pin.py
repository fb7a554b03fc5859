"""Write `constraints.txt`: the exact versions that every install of this project uses.

    python scripts/pin.py            # resolve anew, then write
    python scripts/pin.py --check    # fail if pyproject.toml names a package that is not pinned

A resolver run of pip over all extras and the build requirements, nothing installed. torch is fixed
by hand, because an open range would pull its newest build with gigabytes of CUDA libraries. Local
version labels (`+cpu`) are dropped, so that a GPU machine can take its own build of a version.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
FIXED = ["torch==2.13.0"]
# What the isolated builds of this project and of llama-cpp-python ask for.
BUILD = ["hatchling", "editables", "scikit-build-core[pyproject]", "ninja"]
HEADER = """\
# Written by scripts/pin.py from pyproject.toml; do not edit by hand.
# Exact versions of everything that this project, its extras and its builds need on CPython 3.11
# on Linux. Other systems may add packages of their own; those float.
"""


def normalise(name: str) -> str:
    """Spell a distribution's name as PEP 503 does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """List what pyproject.toml asks for: the core and every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    return sorted({*project["dependencies"], *extras})


def resolve() -> dict[str, str]:
    """Return name and version of every distribution in pip's solution."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report)]
        subprocess.run([*command, *requirements(), *FIXED, *BUILD], check=True)
        solution = json.loads(report.read_text("utf-8"))["install"]
    found = (item["metadata"] for item in solution)
    return {normalise(each["name"]): each["version"].split("+")[0] for each in found}


def missing_pins() -> list[str]:
    """List the required distributions that `constraints.txt` does not pin."""
    pinned = set(re.findall(r"^([a-z0-9-]+)==", CONSTRAINTS.read_text("utf-8"), re.MULTILINE))
    names = (re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements())
    return sorted({normalise(name) for name in names} - pinned)


def main() -> int:
    """Write or check the constraints file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare with pyproject.toml")
    if parser.parse_args().check:
        missing = missing_pins()
        if missing:
            print(f"constraints.txt does not pin {', '.join(missing)}: run scripts/pin.py")
        return 1 if missing else 0
    pins = resolve()
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    CONSTRAINTS.write_text(HEADER + lines, "utf-8")
    print(f"constraints.txt: {len(pins)} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main())
