"""The transformers backend: the conformance kit, and that it says what `generate` says."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.generation import Part
from empathy_agent.backends.requests import Request
from empathy_agent.backends.transformers import TransformersBackend
from empathy_agent.backends.transformers.backend import is_available
from empathy_agent.errors import BackendError, BackendUnavailable
from empathy_agent.segments import NEWLINE, Segment, control
from empathy_agent.testing.kit import GREEDY
from empathy_agent.testing.random_checkpoint import WINDOW, Family, write_random_checkpoint

pytestmark = pytest.mark.skipif(not is_available(), reason="needs empathy-agent[transformers]")

TINY = Path(__file__).parents[2] / "trainers" / "checkpoints" / "empathy-tiny-zh"
FAMILIES: tuple[Family, ...] = ("qwen3", "llama", "mistral", "gemma3_text")
Folder = Callable[[Family], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return the folder of a family's random model, written once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def write(family: Family) -> Path:
        path = root / family
        return path if path.exists() else write_random_checkpoint(path, family)

    return write


def _generate(folder: Path, ids: Sequence[int], count: int) -> tuple[int, ...]:
    """Return what the library's own loop says, end tokens passed over."""
    import torch
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_pretrained(folder)
    given = torch.tensor([list(ids)])
    written = network.generate(
        given, attention_mask=torch.ones_like(given), min_new_tokens=count, max_new_tokens=count
    )
    return tuple(written[0, len(ids) :].tolist())


def _ids(backend: Backend, segments: Sequence[Segment]) -> tuple[int, ...]:
    return sum((one.ids or () for one in backend.pin(segments)), ())


def _exactly(segments: Sequence[Segment], count: int) -> Request:
    return Request(tuple(segments), (), count, GREEDY, min_new_tokens=count)


PROMPTS = ("我", "I feel that you are sad. " * 3, "我很难过，" * 40)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_says_what_generate_says(folder: Folder, family: Family) -> None:
    path = folder(family)
    with TransformersBackend(path, n_threads=1, device_map="cpu") as backend:
        prompts = [(Segment(text),) for text in PROMPTS]
        alone = [backend.complete(_exactly(prompt, 40)) for prompt in prompts]
        backend.forget()
        with ThreadPoolExecutor(len(prompts)) as pool:
            beside = list(pool.map(lambda one: backend.complete(_exactly(one, 40)), prompts))
        for prompt, one, other in zip(prompts, alone, beside, strict=True):
            ids = _ids(backend, prompt)
            expected = _generate(path, ids, 40)
            # A budget that ends inside a character leaves its first bytes out.
            assert one.ids == other.ids == expected[: len(one.ids)]
            assert len(one.ids) > 36
        assert len(_ids(backend, prompts[-1])) > 128 > WINDOW, "several chunks, several windows"


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_a_cache_that_was_set_back_and_shared_leaves_no_trace(
    folder: Folder, family: Family
) -> None:
    path = folder(family)
    with TransformersBackend(path, n_threads=1, device_map="cpu") as backend:
        stem = (Segment("我很难过，" * 12),)
        first = backend.complete(_exactly(stem, 20))
        turns = [
            (*stem, first.segment, control("</L1>"), NEWLINE),
            (*stem, Segment("I feel sad")),
            (Segment("我很难过，" * 3), Segment("you are")),
        ]
        for _ in range(2):  # the second time in the other slots' company
            for turn in turns:
                done = backend.complete(_exactly(turn, 12))
                expected = _generate(path, _ids(backend, turn), 12)
                assert done.ids == expected[: len(done.ids)]
                assert done.usage.reused_tokens > 0


def test_a_shared_prefix_takes_no_room(folder: Folder) -> None:
    with TransformersBackend(folder("qwen3"), n_threads=1, device_map="cpu") as backend:
        model: Any = backend._model
        tokens = tuple(range(30))
        model.evaluate([Part(0, tokens, 0, is_sampled=False)], lambda: False)
        model.copy(0, 1, 0, 20)
        assert model._cache.cells.in_use == 30
        model.trim(0, 10)
        assert model._cache.cells.in_use == 20
        assert model.evaluate([Part(1, tokens[20:], 20, is_sampled=True)], lambda: False) == [10]
        assert model._cache.cells.in_use == 30
        model.trim(1, 0)
        model.trim(0, 0)
        assert model._cache.cells.in_use == 0


def test_an_interrupted_batch_computes_no_further_prompt(folder: Folder) -> None:
    with TransformersBackend(folder("qwen3"), n_threads=1, device_map="cpu") as backend:
        model: Any = backend._model
        parts = [
            Part(0, (5, 6, 7), 0, is_sampled=False),
            Part(1, (5,), 0, is_sampled=True),
            Part(2, (5, 6), 0, is_sampled=True),
        ]
        assert model.evaluate(parts, lambda: True) == [0, 1, 0]
        assert model.evaluate(parts[:1], lambda: False) == [3]


def test_a_failing_pass_is_an_error_and_the_next_request_is_well(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransformersBackend(folder("qwen3"), n_threads=1, device_map="cpu") as backend:
        request = _exactly((Segment("我很难过，"),), 6)
        expected = backend.complete(request)
        layer = backend._model._network.model.layers[1]  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(layer.mlp, "forward", _fail)
            with pytest.raises(BackendError, match="RuntimeError") as caught:
                backend.complete(request)
        assert caught.value.__context__ is None
        assert backend.complete(request).ids == expected.ids


def _fail(*_: object) -> object:
    raise RuntimeError("我很难过")


def test_ids_of_another_model_are_refused(folder: Folder) -> None:
    with TransformersBackend(folder("qwen3"), n_threads=1, device_map="cpu") as backend:
        foreign = Segment("x", ids=(10**6,), fingerprint=backend.fingerprint)
        with pytest.raises(BackendError, match="none of this model's"):
            backend.complete(_exactly((foreign,), 1))
        assert backend.complete(_exactly((Segment("x"),), 1)).usage.completion_tokens == 1


def test_a_backend_that_is_forgotten_frees_its_model(folder: Folder) -> None:
    backend = TransformersBackend(folder("qwen3"), n_threads=1, device_map="cpu")
    model, thread = backend._model, backend._worker._thread
    del backend
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert not hasattr(model, "_network")
    with pytest.raises(BackendUnavailable):
        model.tokenize("x", is_control=False)


def test_pytorch_is_imported_only_when_a_backend_is_opened() -> None:
    code = (
        "import sys\nfrom empathy_agent.backends.transformers import TransformersBackend\n"
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "set()\n"
