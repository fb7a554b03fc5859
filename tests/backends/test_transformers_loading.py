"""How the transformers backend opens models and adapters, and how it says that one does not open."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from empathy_agent.backends.requests import Request
from empathy_agent.backends.transformers import TransformersBackend
from empathy_agent.backends.transformers.backend import is_available
from empathy_agent.backends.transformers.failures import reason_of
from empathy_agent.errors import BackendError, BackendUnavailable, ConfigError
from empathy_agent.segments import ALL_TAGS, Segment
from empathy_agent.testing.kit import GREEDY
from empathy_agent.testing.random_checkpoint import write_random_checkpoint

pytestmark = [
    pytest.mark.skipif(not is_available(), reason="needs empathy-agent[transformers]"),
    # peft asks transformers by a name of yesterday when an adapter is made.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("model") / "tagged")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def _open(path: Path | str, **options: Any) -> TransformersBackend:
    settings: dict[str, Any] = {"n_threads": 1, "device_map": "cpu"} | options
    return TransformersBackend(path, **settings)


def _edit(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def _says(backend: TransformersBackend) -> tuple[int, ...]:
    request = Request((Segment("我很难过，"),), (), 24, GREEDY, min_new_tokens=24)
    return backend.complete(request).ids


def test_it_reads_what_the_folder_says(folder: Path, tmp_path: Path) -> None:
    plain_folder = write_random_checkpoint(
        tmp_path / "plain", has_tags=False, chat_template=None, seed=1
    )
    with _open(folder) as tagged, _open(plain_folder, name="p") as plain:
        assert (tagged.name, plain.name) == ("tagged", "p")
        assert tagged.capabilities.chat_template == "model"
        assert plain.capabilities.chat_template == "plain"
        assert tagged.capabilities.control_tags
        assert not plain.capabilities.control_tags
        assert set(ALL_TAGS) < set(tagged.special_strings)
        assert tagged.fingerprint != plain.fingerprint
        assert tagged.context_size == 2048
        assert tagged.capabilities.languages is None
        assert not tagged.capabilities.demonstration
    with _open(folder, chat_template="plain", n_ctx=512, batching=False) as backend:
        assert backend.capabilities.chat_template == "plain"
        assert backend.capabilities.batch_invariant
        assert backend.context_size == 512


def test_a_model_says_what_it_was_made_for(copied: Path) -> None:
    _edit(copied / "config.json", empathy_agent={"languages": ["zh"], "demonstration": True})
    with _open(copied) as backend:
        assert backend.capabilities.languages == ("zh",)
        assert backend.capabilities.demonstration


def test_half_precision_stays_only_where_it_is_asked_for(copied: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(copied, dtype=torch.float16).save_pretrained(copied)
    for device_map, dtype, expected in (
        ("cpu", "auto", torch.float32),
        ({"": "cpu"}, "auto", torch.float16),
        ("auto", "bfloat16", torch.bfloat16),
    ):
        with _open(copied, dtype=dtype, device_map=device_map) as backend:
            assert backend._model._network.dtype == expected  # type: ignore[attr-defined]
            assert _says(backend)


def _write_adapter(folder: Path, out: Path, seed: int) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_pretrained(folder)
        config = LoraConfig(
            r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        get_peft_model(network, config).save_pretrained(str(out))
    return out


def test_adapters_change_the_text_as_merged_weights_do(folder: Path, copied: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapters = [_write_adapter(folder, copied.parent / f"adapter{n}", n) for n in range(2)]
    network: Any = AutoModelForCausalLM.from_pretrained(folder)
    for adapter in adapters:
        peft: Any = PeftModel.from_pretrained(network, str(adapter))
        network = peft.merge_and_unload()
    network.save_pretrained(copied)
    texts = []
    for path, added in ((folder, []), (folder, adapters[:1]), (folder, adapters), (copied, [])):
        with _open(path, adapters=added) as backend:
            texts.append(_says(backend))
    assert len(set(texts[:3])) == 3
    assert texts[2] == texts[3]


def test_adapters_that_do_not_fit_are_refused(folder: Path, copied: Path) -> None:
    adapter = _write_adapter(folder, copied.parent / "adapter", 0)
    _edit(adapter / "adapter_config.json", target_modules=["nothing_here"])
    with pytest.raises(BackendUnavailable, match=r"the adapter .* does not load"):
        _open(folder, adapters=[adapter])
    with pytest.raises(BackendUnavailable, match=r"has no 'adapter_config\.json'"):
        _open(folder, adapters=[copied])


def test_what_is_no_model_folder_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no model folder at"):
        _open(tmp_path / "none")
    with pytest.raises(BackendUnavailable, match=r"no 'config\.json'"):
        _open(tmp_path)
    with pytest.raises(BackendUnavailable, match="is a file"):
        _open(folder / "config.json")
    with pytest.raises(BackendUnavailable, match="neither here nor"):
        _open("somebody/some-model", local_files_only=True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "qwen99"}, "update transformers"),
        ({"auto_map": {"AutoConfig": "code.Config"}, "model_type": "own"}, "never run here"),
        ({"model_type": "t5"}, "translates text"),
        ({"model_type": "mamba"}, "no plain attention model"),
        ({"model_type": "qwen3_next"}, "no plain attention model"),
        ({"model_type": "bert", "hidden_size": 24, "num_hidden_layers": 1}, "lacks .* tensors"),
    ],
    ids=["unknown", "own code", "translator", "recurrent", "hybrid", "encoder"],
)
def test_a_model_of_another_kind_is_refused_in_words(
    copied: Path, config: dict[str, object], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (copied / "config.json").write_text(json.dumps({"vocab_size": 400} | config))
    with pytest.raises(BackendUnavailable, match=words) as caught:
        _open(copied)
    assert caught.value.__context__ is None
    assert capfd.readouterr() == ("", "")


def test_damaged_files_are_refused_in_words(
    copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(BackendUnavailable, match="damaged"):
        _open(copied)
    (copied / "tokenizer.json").write_text("{}")
    with pytest.raises(BackendUnavailable, match="the tokenizer of"):
        _open(copied)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_does_not_run_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

    def fail(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(Qwen3MLP, "forward", fail)
    with pytest.raises(BackendUnavailable, match=r"does not run .*\(MemoryError\)"):
        _open(folder)


def test_a_model_that_keeps_its_cache_elsewhere_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

    forward: Callable[..., object] = Qwen3Attention.forward

    def forget(self: object, **options: object) -> object:
        return forward(self, **(options | {"past_key_values": None}))

    monkeypatch.setattr(Qwen3Attention, "forward", forget)
    with pytest.raises(BackendUnavailable, match="token by token"):
        _open(folder)


@pytest.mark.parametrize("package", ["torch", "transformers", "accelerate", "peft"])
def test_a_missing_library_says_what_to_install(
    folder: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendUnavailable, match=r"install empathy-agent\[transformers\]"):
        _open(folder, adapters=["somebody/adapter"])


def test_quantising_without_its_library_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BackendUnavailable, match="pip install bitsandbytes"):
        _open(folder, quantization="4bit")


@pytest.mark.parametrize(
    "options",
    [
        {"n_ctx": 1},
        {"n_ctx": 4096},
        {"parallel_sequences": 0},
        {"dtype": "int3"},
        {"quantization": "2bit"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        _open(folder, **options)


def test_a_template_that_does_not_compile_closes_the_model(tmp_path: Path) -> None:
    path = write_random_checkpoint(tmp_path / "bad", chat_template="{% if %}")
    with pytest.raises(BackendError, match="chat_template='plain'"):
        _open(path)
    _open(path, chat_template="plain").close()


def test_other_reasons_have_words_too() -> None:
    assert "not enough memory" in reason_of(
        RuntimeError("DefaultCPUAllocator: can't allocate memory")
    )
    assert "(tiktoken)" in reason_of(ImportError("no", name="tiktoken"))
    assert "another model" in reason_of(RuntimeError("size mismatch for weight"))
    assert "(RuntimeError)" in reason_of(RuntimeError())
    assert "failed with Exception" in reason_of(Exception())
