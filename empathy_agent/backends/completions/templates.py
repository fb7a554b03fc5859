"""Where the chat template comes from: the server, the tokenizer's folder, a file, or a name.

The named ones are for servers that do not tell theirs. Their sources are the models' own
`tokenizer_config.json`: Qwen2.5-7B-Instruct (chatml, without its default system prompt),
Meta-Llama-3-8B-Instruct, gemma-2-9b-it and Mistral-7B-Instruct-v0.3; tools are left out. A system
message that a template refuses is joined to the first post by `render_segments`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from empathy_agent.backends.chat_template import Apply, load_template, plain_template
from empathy_agent.errors import BackendUnavailable, ConfigError

NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chatml": (
            "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
            "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
            "{% endif %}"
        ),
        "llama3": (
            "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
            "<|end_header_id|>\n\n{{ message.content }}<|eot_id|>{% endfor %}"
            "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
            "{% endif %}"
        ),
        "gemma": (
            "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}"
            "{{ raise_exception('no system role') }}{% endif %}<start_of_turn>"
            "{{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content }}"
            "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n"
            "{% endif %}"
        ),
        "mistral": (
            "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
            "[INST] {{ message.content }}[/INST]{% elif message.role == 'assistant' %}"
            " {{ message.content }}{{ eos_token }}{% else %}"
            "{{ raise_exception('no system role') }}{% endif %}{% endfor %}"
        ),
    }
)

WELL_KNOWN_SPECIALS: Final = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>", "<unk>", "<s>", "</s>"),
    *("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<think>", "</think>"),
    *("<tool_call>", "</tool_call>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    *("<|start|>", "<|message|>", "<|channel|>", "<|return|>", "[gMASK]", "<sop>"),
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
)
"""Escaped where the vocabulary is not known: the marks of Qwen, Llama, Gemma, Mistral, Phi, GLM,
DeepSeek and gpt-oss."""


def check_name(setting: str) -> None:
    """Refuse a setting that names no template.

    Raises:
        ConfigError: It is neither a name nor a file that is there.
    """
    known = ("auto", "plain", *NAMED)
    if setting in known or (setting.endswith(".jinja") and Path(setting).is_file()):
        return
    near = difflib.get_close_matches(setting, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    raise ConfigError(f"'chat_template' must be a name or the path of a .jinja file; {hint}")


def choose_template(
    setting: str, served: str | None, tokenizer: Path | None, *, bos: str, eos: str
) -> Apply:
    """Return the template to use; `plain_template` where none is known.

    Args:
        setting: A name, a path or `"auto"`.
        served: What the server says its template is.
        tokenizer: The tokenizer's folder or file.
        bos: What a template may write at the beginning; empty where the server writes it.
        eos: The model's end token.

    Raises:
        BackendError: The template does not compile.
    """
    if setting == "plain":
        return plain_template
    if setting in NAMED:
        return load_template(NAMED[setting], bos=bos, eos=eos)
    if setting != "auto":
        return load_template(Path(setting).read_text(encoding="utf-8"), bos=bos, eos=eos)
    source = _of_folder(tokenizer) or served
    return load_template(source, bos=bos, eos=eos) if source else plain_template


def special_token(tokenizer: Path | None, key: str) -> str:
    """Return `bos_token` or `eos_token` of the tokenizer's configuration, or nothing."""
    value = _configuration(tokenizer).get(key)
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _of_folder(tokenizer: Path | None) -> str | None:
    if tokenizer is None:
        return None
    file = _folder(tokenizer) / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = _configuration(tokenizer).get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _configuration(tokenizer: Path | None) -> dict[str, Any]:
    file = _folder(tokenizer) / "tokenizer_config.json" if tokenizer is not None else None
    if file is None or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BackendUnavailable(f"{str(file)!r} is no JSON object")
    return found


def _folder(tokenizer: Path) -> Path:
    return tokenizer if tokenizer.is_dir() else tokenizer.parent
