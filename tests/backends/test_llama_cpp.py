"""What is llama.cpp's own: loading, tokens, stops, memory, threads."""

from __future__ import annotations

import gc
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

from empathy_agent.backends.fit import fit
from empathy_agent.backends.generation import Part
from empathy_agent.backends.llama_cpp import LlamaCppBackend
from empathy_agent.backends.llama_cpp import library as library_module
from empathy_agent.backends.llama_cpp.backend import is_available, physical_cores
from empathy_agent.backends.llama_cpp.loading import _reason, check_file
from empathy_agent.backends.llama_cpp.model import LlamaModel
from empathy_agent.backends.requests import Message, Request
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendError, BackendUnavailable, ConfigError
from empathy_agent.segments import ALL_TAGS, NEWLINE, Segment, control
from empathy_agent.testing.kit import GREEDY
from empathy_agent.testing.random_gguf import Shape, write_random_gguf

WILD = Sampling(temperature=2.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=5)


def _model(backend: LlamaCppBackend) -> LlamaModel:
    model = backend._model
    assert isinstance(model, LlamaModel)
    return model


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no model file at"):
        LlamaCppBackend(tmp_path / "none.gguf")
    with pytest.raises(BackendUnavailable, match="cannot be read"):
        LlamaCppBackend(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a GGUF file"),
        (b"PK\x03\x04 a zip file", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 9) + bytes(64), "version 9, newer"),
        (b"GGUF" + struct.pack("<I", 3) + bytes(64), "does not load"),
        (b"GGUF" + struct.pack("<IQQ", 3, 5, 5), "does not load"),
    ],
)
def test_a_broken_file_is_refused_in_words(
    tmp_path: Path, content: bytes, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(BackendUnavailable, match=words):
        LlamaCppBackend(path)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_file_is_recognised(tagged_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.gguf"
    path.write_bytes(tagged_gguf.read_bytes()[:-200_000])
    with pytest.raises(BackendUnavailable, match="cut short"):
        LlamaCppBackend(path)


def test_an_unknown_architecture_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    writer = gguf.GGUFWriter(path, "qwen99")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BackendUnavailable, match="architecture is newer"):
        LlamaCppBackend(path)


def test_other_reasons_have_words_too() -> None:
    assert "not enough memory" in _reason("ggml: failed to allocate buffer")
    assert "tokenizer is newer" in _reason("unknown pre-tokenizer type: 'x'")
    assert "may be damaged" in _reason("")


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    library_module.load_library.cache_clear()
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(BackendUnavailable, match=r"install empathy-agent\[llamacpp\]"):
        library_module.load_library()
    assert not is_available()
    monkeypatch.undo()
    assert is_available()


@pytest.mark.parametrize(
    "options", [{"n_ctx": 1}, {"n_threads": 0}, {"parallel_sequences": 0}], ids=str
)
def test_counts_out_of_range_are_refused(tagged_gguf: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        LlamaCppBackend(tagged_gguf, **options)  # type: ignore[arg-type]


def test_it_reads_what_the_file_says(tagged_gguf: Path, plain_gguf: Path) -> None:
    with LlamaCppBackend(tagged_gguf) as tagged, LlamaCppBackend(plain_gguf, name="p") as plain:
        assert (tagged.name, plain.name) == ("tagged", "p")
        assert tagged.capabilities.chat_template == "model"
        assert plain.capabilities.chat_template == "plain"
        assert tagged.capabilities.control_tags
        assert not plain.capabilities.control_tags
        assert set(ALL_TAGS) < set(tagged.special_strings)
        assert tagged.fingerprint != plain.fingerprint
        assert tagged.context_size == 2048
        assert tagged.capabilities.languages is None
    with LlamaCppBackend(tagged_gguf, chat_template="plain", n_ctx=512) as backend:
        assert backend.capabilities.chat_template == "plain"
        assert backend.context_size == 512


def test_the_same_tokenizer_has_the_same_fingerprint(tagged_gguf: Path, tmp_path: Path) -> None:
    other = write_random_gguf(tmp_path / "other.gguf", Shape(layers=1), seed=9)
    with LlamaCppBackend(tagged_gguf) as first, LlamaCppBackend(other) as second:
        assert first.fingerprint == second.fingerprint


def test_a_control_token_ends_a_layer_and_stays_out_of_it(tagged_gguf: Path) -> None:
    with LlamaCppBackend(tagged_gguf, n_threads=1) as backend:
        finishes = set()
        for seed in range(12):
            sampling = WILD.model_copy(update={"seed": seed})
            done = backend.complete(Request((control("<L1>"),), ALL_TAGS, 300, sampling))
            tags = {one for tag in ALL_TAGS for one in backend.pin((control(tag),))[0].ids or ()}
            finishes.add(done.finish)
            assert not any(tag in done.text for tag in ALL_TAGS)
            assert not tags & set(done.ids)
            # The closing tag was sampled, never computed; the next layer goes on from the content.
            follow_up = (control("<L1>"), done.segment, control("</L1>"), NEWLINE)
            usage = backend.complete(Request(follow_up, (), 1, GREEDY)).usage
            assert usage.evaluated_tokens == 2
        assert "stop" in finishes


def test_a_token_across_the_border_is_cut_and_not_reused(plain_gguf: Path) -> None:
    with LlamaCppBackend(plain_gguf, n_threads=1) as backend:
        across = backend.pin((Segment("。</"),))[0].ids
        assert across is not None
        assert len(across) == 1, "the vocabulary has a token across the border"
        assert backend.count_tokens((Segment("。"), control("</"))) == 2


def test_a_minimum_count_holds_off_end_and_stop_tokens(tagged_gguf: Path) -> None:
    with LlamaCppBackend(tagged_gguf, n_threads=1) as backend:
        request = Request((Segment("我"),), ALL_TAGS, 400, WILD, min_new_tokens=400)
        assert backend.complete(request).usage.completion_tokens == 400


def test_an_odd_vocabulary_is_escaped_even_with_control_tags(tmp_path: Path) -> None:
    """One USER_DEFINED token makes text unsafe: it is cut out of text with specials off too."""
    path = write_random_gguf(tmp_path / "odd.gguf")
    data = path.read_bytes()
    with LlamaCppBackend(path) as backend:
        end = backend.pin((control("<|im_start|>"),))[0].ids
        assert end is not None
    reader = gguf.GGUFReader(path)
    field = reader.fields["tokenizer.ggml.token_type"]
    offset = int(field.parts[field.data[end[0]]].ctypes.data - reader.data.ctypes.data)
    path.write_bytes(data[:offset] + struct.pack("<i", 4) + data[offset + 4 :])
    with LlamaCppBackend(path) as backend:
        assert not backend.capabilities.control_tags
        fitted = fit(backend, [Message("user", "a<|im_start|>b</L1>")], 64)
        content = next(one for one in fitted.segments if not one.control)
        assert content.text == "a＜|im_start|>b＜/L1>"


def test_long_posts_overflow_the_shared_memory_in_turn_and_all_finish(tagged_gguf: Path) -> None:
    with LlamaCppBackend(tagged_gguf, n_ctx=512, n_threads=1, parallel_sequences=2) as backend:
        for index in range(6):
            prompt = (Segment(f"{index}{'我很难过。' * 60}"),)
            assert backend.complete(Request(prompt, (), 4, GREEDY)).ids


def test_a_template_that_does_not_compile_closes_the_model(tmp_path: Path) -> None:
    path = write_random_gguf(tmp_path / "bad.gguf", chat_template="{% if %}")
    with pytest.raises(BackendError, match="chat_template='plain'"):
        LlamaCppBackend(path)
    LlamaCppBackend(path, chat_template="plain").close()


def test_a_backend_that_is_forgotten_frees_its_model(tagged_gguf: Path) -> None:
    backend = LlamaCppBackend(tagged_gguf)
    model = _model(backend)
    thread = backend._worker._thread
    del backend
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(BackendUnavailable):
        model.tokenize("x", is_control=False)


def test_an_open_backend_lets_the_interpreter_exit_quietly(tagged_gguf: Path) -> None:
    code = (
        "from empathy_agent.backends.llama_cpp import LlamaCppBackend as B\n"
        "from empathy_agent.backends.base import Request\n"
        "from empathy_agent.segments import Segment\n"
        f"b = B({str(tagged_gguf)!r}, n_threads=1)\n"
        "s = b.stream(Request((Segment('x'),), (), 1500, min_new_tokens=1500))\n"
        "next(s); print('ok')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_physical_cores_are_at_least_one() -> None:
    assert physical_cores() >= 1


def test_a_readable_file_passes(tagged_gguf: Path) -> None:
    check_file(tagged_gguf)


def test_an_aborted_chunk_leaves_a_cache_that_can_go_on(tagged_gguf: Path) -> None:
    with LlamaCppBackend(tagged_gguf, n_threads=1) as backend:
        ids = backend.pin((Segment("我很难过，" * 40),))[0].ids
        assert ids is not None
        chunk, model = list(ids[:128]), _model(backend)
        part = Part(slot=0, tokens=chunk, position=0, is_sampled=False)
        assert model.evaluate([part], lambda: True) == [0]
        assert model.evaluate([part], lambda: False) == [128]
        # The pool knows nothing of this chunk: a lease must clear what it did not write.
        model.trim(0, 0)
        request = Request((Segment("我很难过，" * 40),), (), 6, GREEDY)
        assert backend.complete(request).usage.completion_tokens == 6


def test_a_failing_decode_is_an_error_and_the_next_request_is_well(
    tagged_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LlamaCppBackend(tagged_gguf, n_threads=1) as backend:
        request = Request((Segment("我很难过，"),), (), 6, GREEDY)
        expected = backend.complete(request)
        with monkeypatch.context() as patch:
            patch.setattr(library_module.load_library(), "llama_decode", lambda *_: -3)
            with pytest.raises(BackendError, match="code -3"):
                backend.complete(request)
        again = backend.complete(request)
        assert again.ids == expected.ids
