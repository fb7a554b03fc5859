"""Fetching with the real huggingface_hub from a stand-in of the hub: what arrives, what may fail."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import os
import random
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from empathy_agent.errors import BackendUnavailable, ConfigError, EmpathyAgentError
from empathy_agent.models import hub as hub_module
from empathy_agent.models.hub import fetch
from empathy_agent.models.hub_spec import parse_spec
from empathy_agent.testing.hub_server import Failure, HubServer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

DATA = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(200_000)
FILES = {"README.md": b"# A model\n", "M-Q4_K_M.gguf": DATA, "M-Q8_0.gguf": OTHER}
SPEC = parse_spec("hf:org/repo")


def downloads(hub: HubServer) -> int:
    return sum(request.method == "GET" and "/api/" not in request.path for request in hub.requests)


def blobs(suffix: str = "") -> list[Path]:
    return sorted(Path(constants.HF_HUB_CACHE).glob(f"models--*/blobs/*{suffix}"))


def test_a_file_is_fetched_once_and_then_opened_without_asking(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    path = fetch(SPEC)
    assert (path.name, path.read_bytes()) == ("M-Q4_K_M.gguf", DATA)
    assert [blob.name for blob in blobs()] == [hashlib.sha256(DATA).hexdigest()]
    asked = len(hub.requests)
    assert fetch(SPEC) == path
    assert fetch(parse_spec("hf:org/repo/q4_k_m")) == path
    assert len(hub.requests) == asked
    assert fetch(parse_spec("hf:org/repo/Q8_0")).read_bytes() == OTHER


def test_a_revision_is_a_branch_or_a_commit(hub: HubServer) -> None:
    commit = hub.add("org/repo", FILES, revision="v1")
    path = fetch(parse_spec("hf:org/repo@v1"))
    assert path.read_bytes() == DATA
    assert fetch(parse_spec(f"hf:org/repo@{commit}")) == path


def test_all_parts_of_a_split_model_are_fetched(hub: HubServer) -> None:
    names = [f"sub/M-Q8_0-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    hub.add("org/repo", {name: name.encode() for name in names})
    first = fetch(parse_spec("hf:org/repo/Q8_0"))
    assert first.name == "M-Q8_0-00001-of-00003.gguf"
    assert sorted(path.name for path in first.parent.iterdir()) == [
        Path(name).name for name in names
    ]


def test_a_snapshot_is_a_folder_without_code(hub: HubServer) -> None:
    files = {"config.json": b"{}", "model.safetensors": DATA, "tokenizer.json": b"{ }"}
    hub.add("org/repo", {**files, "modeling_x.py": b"import os", "pytorch_model.bin": b"pickle"})
    folder = fetch(SPEC)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    asked = len(hub.requests)
    assert fetch(SPEC) == folder
    assert len(hub.requests) == asked


def test_a_cut_connection_is_continued_where_it_broke(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    hub.fail("Q4_K_M.gguf", Failure(cut_after=100_000))
    hub.fail("Q4_K_M.gguf", Failure(cut_after=50_000))
    assert fetch(SPEC).read_bytes() == DATA
    # The redirect is asked with the range as well as where it leads to.
    assert dict.fromkeys(hub.ranges()) == dict.fromkeys(["bytes=100000-", "bytes=150000-"])


def test_a_transfer_that_broke_for_good_goes_on_at_the_next_attempt(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    hub.fail("Q4_K_M.gguf", Failure(cut_after=100_000))
    hub.fail("Q4_K_M.gguf", Failure(cut_after=0, times=6))
    with pytest.raises(BackendUnavailable, match="what has arrived is kept") as caught:
        fetch(SPEC)
    assert caught.value.retryable
    assert [blob.stat().st_size for blob in blobs(".partial")] == [100_000]
    hub.requests.clear()
    assert fetch(SPEC).read_bytes() == DATA
    assert set(hub.ranges()) == {"bytes=100000-"}
    assert not blobs(".partial")


def test_wrong_bytes_are_deleted_and_never_opened(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    hub.fail("Q4_K_M.gguf", Failure(is_wrong=True))
    with pytest.raises(BackendUnavailable, match="its checksum differs"):
        fetch(SPEC)
    assert not blobs()
    with pytest.raises(BackendUnavailable, match="not in the cache"):
        fetch(SPEC, local_only=True)
    assert fetch(SPEC).read_bytes() == DATA


def test_small_files_are_checked_too(hub: HubServer) -> None:
    hub.add("org/repo", {"config.json": b'{"a": 1}', "model.safetensors": DATA})
    hub.fail("config.json", Failure(is_wrong=True))
    with pytest.raises(BackendUnavailable, match=r"'config\.json' is not what the hub lists"):
        fetch(SPEC)


def test_a_refresh_takes_the_newest_and_repairs_what_is_damaged(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    old = fetch(SPEC)
    hub.add("org/repo", {**FILES, "M-Q4_K_M.gguf": OTHER[::-1]})
    assert fetch(SPEC) == old
    new = fetch(SPEC, refresh=True)
    assert new.read_bytes() == OTHER[::-1]
    assert fetch(SPEC) == new
    new.resolve().write_bytes(DATA[: len(OTHER)])  # the size is right, the content is not
    assert fetch(SPEC) == new
    assert fetch(SPEC, refresh=True).read_bytes() == OTHER[::-1]


def test_a_shortened_file_is_noticed_when_it_is_opened(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    fetch(SPEC).resolve().write_bytes(DATA[:1000])
    with pytest.raises(BackendUnavailable, match="not in the cache"):
        fetch(SPEC, local_only=True)
    assert fetch(SPEC).read_bytes() == DATA


def test_a_failed_refresh_leaves_the_cached_model_as_it_is(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    old = fetch(SPEC)
    hub.add("org/repo", {"M-Q4_K_M.gguf": OTHER})
    hub.fail("Q4_K_M.gguf", Failure(status=503))
    with pytest.raises(BackendUnavailable, match="the hub answers 503"):
        fetch(SPEC, refresh=True)
    assert fetch(SPEC, local_only=True) == old


@pytest.mark.parametrize("way", ["EMPATHY_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_only_the_cache_is_asked(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    hub.add("org/repo", FILES)
    path = fetch(SPEC)
    hub.requests.clear()
    if way == "EMPATHY_OFFLINE":
        monkeypatch.setenv(way, "1")
    else:
        monkeypatch.setattr(constants, way, True)
    assert fetch(SPEC) == path
    with pytest.raises(BackendUnavailable) as caught:
        fetch(parse_spec("hf:org/repo/Q8_0"))
    assert "the cache has M-Q4_K_M.gguf" in str(caught.value)
    assert "empathy-agent models pull hf:org/repo/Q8_0" in str(caught.value)
    with pytest.raises(ConfigError, match=r"it has M-Q4_K_M\.gguf, M-Q8_0\.gguf"):
        fetch(parse_spec("hf:org/repo/Q2_K"))
    with pytest.raises(BackendUnavailable, match=r"hf:org/other is not in the cache"):
        fetch(parse_spec("hf:org/other"))
    with pytest.raises(BackendUnavailable, match="nothing can be fetched offline"):
        fetch(SPEC, refresh=True)
    assert not hub.requests


def test_offline_what_another_program_cached_is_found(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    hub.add("org/repo", FILES)
    path = Path(hf_hub_download("org/repo", "M-Q8_0.gguf"))
    asked = downloads(hub)
    assert fetch(parse_spec("hf:org/repo/Q8_0"), local_only=True) == path
    assert fetch(parse_spec("hf:org/repo/Q8_0")) == path
    assert downloads(hub) == asked  # online it was verified, not fetched again


FAULTS: dict[str, tuple[Callable[[HubServer], object], str, type[EmpathyAgentError], str]] = {
    "no repository": (lambda hub: None, "hf:org/none", ConfigError, "no repository 'org/none'"),
    "no revision": (
        lambda hub: hub.add("org/repo", FILES),
        "hf:org/repo@v9",
        ConfigError,
        "no revision 'v9'",
    ),
    "no file": (
        lambda hub: hub.add("org/repo", FILES),
        "hf:org/repo/x.gguf",
        ConfigError,
        "no GGUF file 'x.gguf'; it has",
    ),
    "gated": (
        lambda hub: hub.add("org/repo", FILES, is_gated=True),
        "hf:org/repo",
        ConfigError,
        "accepted its licence.*HF_TOKEN",
    ),
    "forbidden": (
        lambda hub: hub.fail("org/repo", Failure(status=403)),
        "hf:org/repo",
        ConfigError,
        "accepted its licence.*HF_TOKEN",
    ),
    "rate": (
        lambda hub: hub.fail("org/repo", Failure(status=429, times=9)),
        "hf:org/repo",
        BackendUnavailable,
        "refuses further requests",
    ),
    "down": (
        lambda hub: hub.fail("org/repo", Failure(status=503, times=9)),
        "hf:org/repo",
        BackendUnavailable,
        "the hub answers 503",
    ),
}


@pytest.mark.parametrize(("plan", "spec", "kind", "words"), FAULTS.values(), ids=list(FAULTS))
def test_every_refusal_of_the_hub_is_put_in_words(
    hub: HubServer,
    plan: Callable[[HubServer], object],
    spec: str,
    kind: type[EmpathyAgentError],
    words: str,
) -> None:
    plan(hub)
    with pytest.raises(kind, match=words) as caught:
        fetch(parse_spec(spec))
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_token_opens_a_gated_repository_and_stays_secret(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.add("org/repo", FILES, is_gated=True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fail("Q4_K_M.gguf", Failure(status=503))
    with pytest.raises(BackendUnavailable) as caught:
        fetch(SPEC)
    assert fetch(SPEC).read_bytes() == DATA
    tokens = {("/stored/" in request.path, request.token) for request in hub.requests}
    assert tokens == {(False, "Bearer hf_secret"), (True, None)}  # never sent to the storage
    assert "hf_secret" not in str(caught.value) + "".join(capfd.readouterr())


def test_a_hub_that_is_not_there_is_named_as_such(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(BackendUnavailable, match=r"cannot be reached.*HF_ENDPOINT"):
            fetch(SPEC)


def test_a_hub_that_falls_silent_is_left(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/repo", FILES)
    released = threading.Event()
    hub.fail("Q4_K_M.gguf", Failure(hold=released, times=9))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    try:
        with pytest.raises(BackendUnavailable, match="ReadTimeout"):
            fetch(SPEC)
    finally:
        released.set()


def test_a_disk_without_room_is_noticed_before_the_transfer(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/repo", FILES)
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(BackendUnavailable, match=r"disk .* full: 0\.0 GB are needed.*HF_HOME"):
        fetch(SPEC)
    assert downloads(hub) == 0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full; make room.*what has arrived is kept"),
        (errno.EACCES, "cannot be written; set HF_HOME"),
        (errno.EIO, "failed with OSError"),
    ],
)
def test_a_disk_that_fails_during_the_transfer_is_put_in_words(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(*arguments: Any, **settings: Any) -> None:
        error = OSError(os.strerror(number))
        error.errno = number
        raise error

    hub.add("org/repo", FILES)
    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    with pytest.raises(BackendUnavailable, match=words):
        fetch(SPEC)


def test_two_that_want_the_same_file_fetch_it_once(hub: HubServer) -> None:
    hub.add("org/repo", FILES)
    released = threading.Event()
    hub.fail("Q4_K_M.gguf", Failure(hold=released))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(fetch, SPEC), pool.submit(fetch, SPEC)
        released.set()
        assert first.result() == second.result()
    assert sum("/stored/" in request.path for request in hub.requests) == 1


def test_nothing_is_printed_and_no_telemetry_is_sent(
    hub: HubServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    verbosity = logging.getLogger("huggingface_hub").level
    hub.add("org/repo", FILES)
    hub.fail("Q4_K_M.gguf", Failure(cut_after=1000))
    fetch(SPEC)
    assert capfd.readouterr() == ("", "")
    assert all("org/repo" in path or "/stored/" in path for path in
               (request.path for request in hub.requests))  # fmt: skip
    assert logging.getLogger("huggingface_hub").level == verbosity


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> object:
        return None if name == "huggingface_hub" else importlib.util.find_spec(name)

    monkeypatch.setattr(hub_module, "find_spec", find_spec)
    with pytest.raises(BackendUnavailable, match=r"empathy-agent\[hub\]"):
        fetch(SPEC)
