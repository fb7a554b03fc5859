"""What can be written after `--model`, and what is said about everything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel

from empathy_agent.errors import ConfigError
from empathy_agent.models.hub_spec import HubSpec
from empathy_agent.models.specs import Chat, Endpoint, LocalFile, LocalFolder, Named, read_spec


def test_names_and_addresses_are_told_apart() -> None:
    assert read_spec("tiny") == Named("tiny")
    assert read_spec("fake") == Named("fake")
    assert read_spec("hf:org/repo/Q4_K_M@v1") == HubSpec("org/repo", "Q4_K_M", "v1")
    assert read_spec("http://127.0.0.1:8000/v1/") == Endpoint("http://127.0.0.1:8000/v1", None)
    assert read_spec("https://host/v1#org/name%20x") == Endpoint("https://host/v1", "org/name x")


def test_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "m.GGUF"
    file.touch()
    (tmp_path / "config.json").touch()
    assert read_spec(file) == read_spec(str(file)) == LocalFile(file)
    assert read_spec(tmp_path) == LocalFolder(tmp_path)


def test_a_chat_model_is_taken_as_it_is() -> None:
    chat = FakeListChatModel(responses=["x"])
    assert read_spec(chat) == Chat(chat)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt-4", "unknown model 'gpt-4'; possible are 'tiny'"),
        ("", "unknown model ''"),
        ("tinny", "did you mean 'tiny'"),
        ("Qwen3-4B", "did you mean 'hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf'"),
        ("Qwen/Qwen3-32B-GGUF", "did you mean 'hf:Qwen/Qwen3-32B-GGUF'"),
        ("hf://Qwen/Qwen3-32B", "did you mean 'hf:Qwen/Qwen3-32B'"),
        ("/nowhere/model.gguf", "no model file at '/nowhere/model.gguf'"),
        ("hf:Qwen", "write hf:org/repo"),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/main", "did you mean 'hf:Qwen/Qwen3-8B'"),
        ("http://host:8000", "did you mean 'http://host:8000/v1'"),
        ("http://host:port/v1", "cannot read the address"),
        ("http://", "cannot read the address"),
        ("http://host/v1?key=1", "cannot read the address"),
    ],
)
def test_what_names_nothing_gets_the_nearest_that_does(spec: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_spec(spec)
    assert words in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="'api_key'") as caught:
        read_spec("http://me:secret@host/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("adapter_config.json", "open its base model, with the option 'adapters'"),
        ("m.gguf", "name one of its files: m.gguf"),
        ("notes.txt", "it is no model folder"),
    ],
)
def test_a_folder_without_a_model_says_what_it_is(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=words):
        read_spec(tmp_path)


def test_an_object_that_is_no_chat_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="a dict is no model; possible are"):
        read_spec({})  # type: ignore[arg-type]


def test_a_text_is_read_without_langchain_and_the_hub() -> None:
    script = (
        "import sys; from empathy_agent.models.resolver import resolve_model; "
        "resolve_model('fake'); resolve_model('http://host/v1'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True,
                          env={"PYTHONPATH": ":".join(sys.path)}, timeout=60)  # fmt: skip
    heavy = {"langchain_core", "huggingface_hub", "transformers", "llama_cpp", "httpx"}
    assert not set(done.stdout.split()) & heavy
