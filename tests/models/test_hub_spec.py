"""`hf:` specs: the grammar, and the choice among a repository's files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_agent.errors import ConfigError
from empathy_agent.models.hub_spec import Choice, HubSpec, choose, parse_spec

QUANTISED = ["README.md", "M-Q8_0.gguf", "M-Q4_K_M.gguf", "M-Q5_K_M.gguf", "mmproj-F16.gguf"]
SPLIT = [f"big/M-Q8_0-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
SNAPSHOT = ["config.json", "model.safetensors", "tokenizer.json", "merges.txt", "chat.jinja"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:org/repo", HubSpec("org/repo")),
        ("hf:Qwen/Qwen3-4B-GGUF/Q4_K_M", HubSpec("Qwen/Qwen3-4B-GGUF", "Q4_K_M")),
        ("hf:org/repo/sub/file.gguf", HubSpec("org/repo", "sub/file.gguf")),
        ("hf:org/repo@v1.0", HubSpec("org/repo", None, "v1.0")),
        ("hf:org/repo/file.gguf@refs/pr/1", HubSpec("org/repo", "file.gguf", "refs/pr/1")),
    ],
)
def test_a_spec_is_read_and_written_alike(text: str, expected: HubSpec) -> None:
    assert parse_spec(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:repo", "hf:/repo", "hf:org/repo@", "hf:org/repo@../x", "hf:org/repo/../x.gguf"],
)
def test_a_spec_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write hf:org/repo|cannot exist"):
        parse_spec(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse_spec(f"hf:{text}")
    except ConfigError:
        return
    assert ".." not in spec.revision.split("/")


@pytest.mark.parametrize(
    ("file", "files", "expected"),
    [
        (None, QUANTISED, "M-Q4_K_M.gguf"),
        (None, ["M-Q6_K.gguf", "M-Q8_0.gguf"], "M-Q8_0.gguf"),
        (None, ["M.gguf", "README.md"], "M.gguf"),
        ("M-Q8_0.gguf", QUANTISED, "M-Q8_0.gguf"),
        ("m-q8_0.GGUF", QUANTISED, "M-Q8_0.gguf"),
        ("q5_k_m", QUANTISED, "M-Q5_K_M.gguf"),
        ("Q8_0", [*SPLIT, "M-Q4_0.gguf"], SPLIT[0]),
        (SPLIT[1], SPLIT, SPLIT[0]),
        (None, SPLIT, SPLIT[0]),
    ],
)
def test_the_file_to_open_is_chosen(file: str | None, files: list[str], expected: str) -> None:
    choice = choose(HubSpec("org/repo", file), files)
    assert choice.opened == expected
    assert choice.files == (tuple(SPLIT) if expected in SPLIT else (expected,))


def test_a_repository_without_gguf_is_a_snapshot_without_code_and_pickles() -> None:
    extra = ["modeling.py", "pytorch_model.bin", "consolidated.safetensors", "onnx/model.json"]
    choice = choose(HubSpec("org/repo"), [*SNAPSHOT, *extra])
    assert choice == Choice(tuple(sorted(SNAPSHOT)), None)


@pytest.mark.parametrize(
    ("file", "files", "words"),
    [
        ("Q2_K", QUANTISED, "it has M-Q4_K_M.gguf, M-Q5_K_M.gguf, M-Q8_0.gguf"),
        ("M-Q4_K_S.gguf", QUANTISED, "did you mean 'M-Q4_K_M.gguf'"),
        (SPLIT[0], SPLIT[:2], "it has big/"),
        ("Q8_0", ["a-Q8_0.gguf", "b-Q8_0.gguf"], "could be a-Q8_0.gguf, b-Q8_0.gguf"),
        (None, ["a.gguf", "b.gguf"], "could be a.gguf, b.gguf"),
        (None, ["README.md", "pytorch_model.bin"], "it has README.md, pytorch_model.bin"),
        (None, [], "it has no files"),
        (None, [f"{index:02}.bin" for index in range(20)], "11.bin and 8 more"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    file: str | None, files: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        choose(HubSpec("org/repo", file), files)
