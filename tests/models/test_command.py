"""`empathy-agent models`: what it prints, where, and with which status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from empathy_agent import cli
from empathy_agent.models.catalogue import load_catalogue
from empathy_agent.models.hub_spec import HubSpec
from empathy_agent.models.resolver import TINY_PATH
from empathy_agent.models.specs import Named, read_spec
from empathy_agent.testing.hub_server import HubServer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

POINT = EntryPoint("models", "empathy_agent.models.command:models", cli.GROUP)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, installed or not."""
    monkeypatch.setattr(cli, "entry_points", lambda group: [POINT])

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["models", *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_the_list_is_the_default_and_says_what_was_tried(command: Command) -> None:
    status, out, err = command()
    assert (status, err) == (0, "")
    assert out == command("list")[1]
    rows = {entry.spec: next(line for line in out.splitlines() if entry.spec in line)
            for entry in load_catalogue()}  # fmt: skip
    assert [spec for spec, row in rows.items() if re.search(r"│ yes +│", row)] == ["tiny"]
    assert "2.5 GB" in rows["hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf"]


def test_help_lists_the_parts(command: Command) -> None:
    status, out, _ = command("--help")
    assert status == 0
    assert all(name in out for name in ("list", "pull", "path"))


def test_pull_prints_the_spec_on_stdout_and_the_path_beside_it(
    command: Command, hub: HubServer
) -> None:
    hub.add("org/repo", {"M-Q4_K_M.gguf": b"GGUF"})
    assert command("path", "hf:org/repo")[0] == 1
    status, out, err = command("pull", "hf:org/repo/q4_k_m")
    assert (status, out) == (0, "hf:org/repo/q4_k_m\n")
    assert Path(err.strip()).read_bytes() == b"GGUF"
    assert command("path", "hf:org/repo") == (0, err, "")


def test_path_prints_what_is_local(command: Command, tmp_path: Path) -> None:
    assert command("path", "tiny") == (0, f"{TINY_PATH}\n", "")
    (tmp_path / "config.json").touch()
    assert command("path", str(tmp_path)) == (0, f"{tmp_path}\n", "")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("pull", "tiny"), 2, "'tiny' is not on the hub"),
        (("path", "fake"), 2, "'fake' is no file of this machine"),
        (("path", "hf:org/repo"), 1, "run `empathy-agent models pull hf:org/repo`"),
        (("pull", "hf:org/repo"), 2, "no repository 'org/repo'"),
        (("pull", "hf:org"), 2, "write hf:org/repo"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command, hub: HubServer, arguments: tuple[str, ...], status: int, words: str
) -> None:
    ended, out, err = command(*arguments)
    assert (ended, out, err.count("\n")) == (status, "", 1)
    assert words in err


def test_the_environment_decides_the_hub_and_the_cache(hub: HubServer, tmp_path: Path) -> None:
    hub.add("org/repo", {"M-Q4_K_M.gguf": b"GGUF"})
    script = (
        "from importlib.metadata import EntryPoint; from empathy_agent import cli; "
        f"cli.entry_points = lambda group: [EntryPoint('models', {POINT.value!r}, group)]; "
        "cli.main()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)

    done = subprocess.run(
        [sys.executable, "-c", script, "models", "pull", "hf:org/repo"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (0, "hf:org/repo\n")
    assert Path(done.stderr.strip()).is_relative_to(tmp_path / "home" / "hub")


def test_the_catalogue_is_honest_and_sorted() -> None:
    entries = load_catalogue()
    assert [entry.size for entry in entries] == sorted(entry.size for entry in entries)
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        reference = read_spec(entry.spec)
        assert (entry.checked == "run") == (reference == Named("tiny"))
        assert entry.size < entry.memory
        if isinstance(reference, HubSpec):
            assert entry.source == f"https://huggingface.co/{reference.repo}"
    assert entries[0].size == TINY_PATH.stat().st_size
