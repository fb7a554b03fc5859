"""llama.cpp's own server, for comparison: `python -m bench.llama_server` builds it and prints where it lies.

It is built from the very sources that the installed llama-cpp-python was built from, with the same instruction sets, so
that a difference between the two is a difference of scheduling. The build takes about ten minutes on two cores, once;
the one file that it yields is kept in the bench's cache folder. Nothing but the bench knows of it: where it cannot be
built, the bench goes on without that column. `Server` runs it on a free port of this machine.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.models import cache_folder
from empathy_agent.backends.llama_cpp.library import load_library

PACKAGE = "llama-cpp-python"
PORTABLE = {"SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2"}
"""The instruction sets of a build for x86-64 with `GGML_NATIVE=OFF`."""
_NO_INSTRUCTIONS = {"LLAMAFILE", "OPENMP", "REPACK"}
_START_S = 120.0


class CannotBuild(Exception):
    """The server cannot be built or started here; the message says why."""


def wheel_features() -> frozenset[str]:
    """Return what the installed llama-cpp-python says it was built with."""
    return features(load_library().llama_print_system_info().decode())


def features(line: str) -> frozenset[str]:
    """Return the names that a line of llama.cpp's system information sets to 1."""
    return frozenset(re.findall(r"(\w+) = 1\b", line.partition("CPU :")[2]))


def server_file() -> Path:
    """Return the server's file, building it on first use.

    Raises:
        CannotBuild: A tool is missing, the sources cannot be had, or the build fails.
    """
    version = importlib.metadata.version(PACKAGE)
    is_native = bool(wheel_features() - PORTABLE - _NO_INSTRUCTIONS)
    name = f"llama-server-{version}-{'native' if is_native else 'portable'}"
    path = cache_folder() / name
    if path.exists():
        return path
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            raise CannotBuild(f"building {name} needs {tool}, which is missing")
    print(f"building {name}: about ten minutes on two cores, once", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        built = _build(_sources(version, Path(scratch)), Path(scratch) / "build", is_native)
        partial = path.with_name(f"{path.name}.partial")
        shutil.copy2(built, partial)
    return partial.rename(path)


def server_features() -> frozenset[str]:
    """Return what the server says it was built with; it says so only when it talks much, before it loads a model."""
    command = [str(server_file()), "--verbosity", "4", "--offline", "--model", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_START_S)
    lines = (done.stdout + done.stderr).splitlines()
    return features(next((one for one in lines if "system_info" in one), ""))


def _sources(version: str, folder: Path) -> Path:
    """Fetch the source distribution of the package and return llama.cpp's folder in it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={version}"]
    _run(command, "fetching its sources")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("*/vendor/llama.cpp"))


def _build(sources: Path, folder: Path, is_native: bool) -> Path:
    """Build the server, without its web page, which the build would fetch."""
    off = ["BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_APP", "BUILD_UI", "USE_PREBUILT_UI"]
    off += ["OPENSSL", "ALL_WARNINGS"]
    configure = ["cmake", "-S", str(sources), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    configure += ["-DBUILD_SHARED_LIBS=OFF", "-DCMAKE_POSITION_INDEPENDENT_CODE=ON"]
    configure += [f"-DGGML_NATIVE={'ON' if is_native else 'OFF'}"]
    configure += [f"-DLLAMA_{name}=OFF" for name in off]
    configure += ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(configure, "configuring it")
    build = ["cmake", "--build", str(folder), "--target", "llama-server"]
    _run([*build, "--parallel", str(os.cpu_count() or 1)], "compiling it")
    return folder / "bin" / "llama-server"


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise CannotBuild(f"{what} failed:\n{tail}")


class Server:
    """A running llama-server; a context manager.

    Args:
        model: The GGUF file.
        slots: How many requests it runs at once.
        context: Tokens that a slot holds.
        threads: Threads of a computation.
        arguments: More of its own arguments.

    Raises:
        CannotBuild: It cannot be built, or does not come up.
    """

    def __init__(
        self,
        model: Path,
        *,
        slots: int,
        context: int,
        threads: int,
        arguments: Sequence[str] = (),
    ) -> None:
        program = server_file()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._log = tempfile.TemporaryFile()
        command = [str(program), "--model", str(model), "--port", str(self.port)]
        command += ["--parallel", str(slots), "--ctx-size", str(slots * context)]
        command += ["--threads", str(threads), "--threads-batch", str(threads)]
        command += ["--host", "127.0.0.1", "--offline", *arguments]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise CannotBuild("llama-server ended:\n" + "\n".join(self._lines()[-8:]))
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise CannotBuild(f"llama-server did not come up within {_START_S:.0f} s")

    def _lines(self) -> list[str]:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace").splitlines()


if __name__ == "__main__":
    try:
        print(server_file())
    except CannotBuild as problem:
        raise SystemExit(str(problem)) from None
