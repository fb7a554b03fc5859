"""Say in one line what this machine lacks, before anything is installed or built.

Run by `make` with whatever `python3` there is, so the syntax is kept readable by Python 3.6:
    python3 scripts/check_tools.py python cmake compiler
Each argument names one check; the first that fails prints what to install and exits with 1.
"""

import os
import re
import shutil
import subprocess
import sys

PYTHON_MINIMUM = (3, 11)
# https://github.com/abetlen/llama-cpp-python/blob/main/CMakeLists.txt
CMAKE_MINIMUM = (3, 21)


def check_python() -> str:
    """Say what is wrong with the running interpreter, or nothing."""
    if sys.version_info < PYTHON_MINIMUM:
        found = ".".join(str(part) for part in sys.version_info[:3])
        return (
            f"Python 3.11 or newer is needed, {sys.executable} is {found}: install one, "
            "or name another with `make PYTHON=python3.11 ...`."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "Python's `venv` module is missing: install it (Debian and Ubuntu: python3-venv)."
    return ""


def check_cmake() -> str:
    """Say what is wrong with cmake, or nothing."""
    path = shutil.which("cmake")
    if path is None:
        return (
            "cmake is missing: install it (Debian and Ubuntu: `apt-get install cmake`, "
            "Fedora: `dnf install cmake`, macOS: `brew install cmake`)."
        )
    output = subprocess.check_output([path, "--version"]).decode("utf-8", "replace")
    match = re.search(r"version (\d+)\.(\d+)", output)
    if match and (int(match.group(1)), int(match.group(2))) < CMAKE_MINIMUM:
        found = ".".join(match.groups())
        return f"cmake 3.21 or newer is needed, found {found}: `pip install cmake` has a new one."
    return ""


def check_compiler() -> str:
    """Say what is wrong with the C and C++ compilers, or nothing."""
    for variable, names in (("CC", "cc gcc clang"), ("CXX", "c++ g++ clang++")):
        chosen = os.environ.get(variable, "").split()[:1]
        candidates = chosen or names.split()
        if not any(shutil.which(name) for name in candidates):
            return (
                f"a C and C++ compiler is missing (looked for {', '.join(candidates)}): install "
                "one (Debian and Ubuntu: `apt-get install build-essential`, "
                "Fedora: `dnf install gcc-c++`, macOS: `xcode-select --install`)."
            )
    return ""


CHECKS = {"python": check_python, "cmake": check_cmake, "compiler": check_compiler}


def main() -> int:
    """Run the named checks in order; return the exit status."""
    for name in sys.argv[1:]:
        problem = CHECKS[name]()
        if problem:
            print(f"empathy-agent: {problem}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
