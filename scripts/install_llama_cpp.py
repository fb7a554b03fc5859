"""Install the pinned llama-cpp-python, built from source with only what this project loads.

Runs inside the environment that it fills:
    python scripts/install_llama_cpp.py [--native]
A version that is installed already is left alone. A wheel built before is taken from the user's
cache folder, under a key of everything that shaped it: pip's own cache knows only the package's
address, and would hand a wheel with native instructions to any other project or machine.
Flags, figures and reasons: docs/decisions/0002-llama-cpp-build.md.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRIM = ROOT / "scripts" / "llama_cpp_trim.cmake"
PACKAGE = "llama-cpp-python"


def pinned_version(constraints: Path) -> str:
    """Read the version of llama-cpp-python that the constraints file names."""
    found = re.search(rf"^{PACKAGE}==(\S+)$", constraints.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{constraints.name} does not pin {PACKAGE}: run scripts/pin.py")
    return found.group(1)


def installed_version() -> str | None:
    """Return the installed version of llama-cpp-python, or None."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def cmake_arguments(native: bool) -> list[str]:
    """List the CMake arguments of the build; the caller's own `CMAKE_ARGS` come last and win."""
    return [
        f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={TRIM}",
        "-DLLAVA_BUILD=OFF",
        "-DLLAMA_BUILD_TOOLS=OFF",
        "-DLLAMA_BUILD_SERVER=OFF",
        "-DLLAMA_BUILD_EXAMPLES=OFF",
        "-DLLAMA_BUILD_TESTS=OFF",
        f"-DGGML_NATIVE={'ON' if native else 'OFF'}",
        *shlex.split(os.environ.get("CMAKE_ARGS", "")),
    ]


def processor_flags() -> str:
    """Describe the instruction sets of this processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def wheel_folder(version: str, arguments: list[str], native: bool) -> Path:
    """Name the cache folder of a wheel with exactly these properties."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    shape = [
        version,
        platform.system(),
        platform.machine(),
        *platform.libc_ver(),
        *arguments[1:],
        TRIM.read_text("utf-8"),
        processor_flags() if native else "",
    ]
    key = hashlib.sha256("\0".join(shape).encode()).hexdigest()[:16]
    return Path(base) / "empathy-agent" / "wheels" / f"{version}-{key}"


def build_wheel(version: str, arguments: list[str], folder: Path) -> Path:
    """Build the wheel and put it into `folder` in one step, so that a broken build leaves none."""
    environment = {
        **os.environ,
        "CMAKE_ARGS": shlex.join(arguments),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
        # scikit-build-core then asks pip for ninja where the system has none.
        "CMAKE_GENERATOR": "Ninja",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-cache-dir"]
        command += ["--no-binary", PACKAGE, "-w", scratch, f"{PACKAGE}=={version}"]
        subprocess.run(command, env=environment, check=True)
        built = next(Path(scratch).glob("*.whl"))
        partial = folder / f"{built.name}.partial"
        shutil.move(built, partial)
        return partial.rename(folder / built.name)


def main() -> int:
    """Make sure that the pinned llama-cpp-python is installed; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--native",
        action="store_true",
        help="use every instruction of this processor; the wheel runs on no lesser one",
    )
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt")
    options = parser.parse_args()
    version = pinned_version(options.constraints)
    if installed_version() == version:
        print(f"{PACKAGE} {version} is installed")
        return 0
    arguments = cmake_arguments(options.native)
    folder = wheel_folder(version, arguments, options.native)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        print(f"building {PACKAGE} {version} from source: about 3 minutes on two cores", flush=True)
        started_s = time.monotonic()
        wheel = build_wheel(version, arguments, folder)
        print(f"built {PACKAGE} in {time.monotonic() - started_s:.0f} s", flush=True)
    else:
        print(f"taking {PACKAGE} {version} from the wheel cache", flush=True)
    install = [sys.executable, "-m", "pip", "install", "-q", str(wheel)]
    return subprocess.run(install, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
