"""What the probe makes of each kind of server, and what is then sent to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from empathy_agent.backends.completions import CompletionsBackend
from empathy_agent.backends.fit import fit
from empathy_agent.backends.requests import Message, Request
from empathy_agent.config import Sampling
from empathy_agent.errors import BackendUnavailable, ConfigError, ContextOverflow
from empathy_agent.segments import ALL_TAGS, NEWLINE, Segment, control

pytestmark = pytest.mark.enable_socket

Serve = Callable[[Mapping[str, Callable[[dict[str, Any]], object]]], Any]
FIRST_SPECIAL = 0x110000
SPECIALS = ("<|im_end|>", *ALL_TAGS)


def spell(text: str, *, parse_special: bool) -> list[int]:
    """Tokenise by characters, specials as tokens of their own."""
    ids: list[int] = []
    while text:
        special = next((one for one in SPECIALS if parse_special and text.startswith(one)), None)
        ids.append(FIRST_SPECIAL + SPECIALS.index(special) if special else ord(text[0]))
        text = text[len(special) if special else 1 :]
    return ids


def speak(ids: list[int]) -> str:
    return "".join(
        SPECIALS[one - FIRST_SPECIAL] if one >= FIRST_SPECIAL else chr(one) for one in ids
    )


def listing(owner: str, **more: object) -> Callable[[dict[str, Any]], object]:
    return lambda _: {"data": [{"id": "m", "owned_by": owner, **more}]}


def events(*texts: str, **last: object) -> Callable[[dict[str, Any]], object]:
    chunks: list[object] = [{"choices": [{"text": text, "finish_reason": None}]} for text in texts]
    chunks.append({"choices": [{"text": "", "finish_reason": "stop", **last}]})
    return lambda _: chunks


def llama_server(serve: Serve) -> Any:
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    return serve(
        {
            "/v1/models": listing("llamacpp"),
            "/props": lambda _: {
                "default_generation_settings": {"n_ctx": 1024},
                "chat_template": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
                "<|im_end|>{% endfor %}",
                "bos_token": "",
                "eos_token": "<|im_end|>",
            },
            "/tokenize": lambda body: {
                "tokens": spell(body["content"], parse_special=body.get("parse_special", True))
            },
            "/detokenize": lambda body: {"content": speak(body["tokens"])},
            "/v1/completions": lambda _: [
                {"choices": [{"text": "焦虑", "finish_reason": None}]},
                {"choices": [{"text": "", "finish_reason": "stop"}], "usage": usage}
                | {"timings": {"cache_n": 5}},
            ],
        }
    )


def vllm(serve: Serve, **last: object) -> Any:
    return serve(
        {
            "/v1/models": listing("vllm", max_model_len=512),
            "/tokenize": lambda body: {"tokens": spell(body["prompt"], parse_special=True)},
            "/detokenize": lambda body: {"prompt": speak(body["tokens"])},
            "/v1/completions": events("焦", "虑", **last),
        }
    )


def test_llama_server_gets_ids_and_its_own_fields(serve: Serve) -> None:
    server = llama_server(serve)
    with CompletionsBackend(server.url) as backend:
        assert (backend.flavour, backend.context_size) == ("llama-server", 1024)
        assert backend.capabilities.control_tags
        assert backend.capabilities.chat_template == "model"
        segments = backend.pin((*backend.render([Message("user", "<L1>")]), control("<L1>")))
        sampling = Sampling(top_k=7, repeat_penalty=1.2, seed=5)
        completion = backend.complete(Request(segments, ("</L1>",), 20, sampling))
        assert segments[1].ids == tuple(map(ord, "<L1>"))
        assert completion.ids == tuple(map(ord, "焦虑"))
        assert completion.segment.ids_for(backend.fingerprint) == completion.ids
        assert completion.usage.reused_tokens == 5
    (body,) = server.sent("/v1/completions")
    assert body["prompt"] == [one for segment in segments for one in segment.ids or ()]
    assert (body["top_k"], body["repeat_penalty"], body["seed"]) == (7, 1.2, 5)
    assert body["cache_prompt"] is True
    assert body["preserved_tokens"] == ["</L1>"]


def test_vllm_without_a_tokenizer_file_gets_ids_of_escaped_text(serve: Serve) -> None:
    server = vllm(serve, stop_reason=None)
    with CompletionsBackend(server.url, chat_template="chatml") as backend:
        assert (backend.flavour, backend.context_size) == ("vllm", 512)
        assert backend.capabilities.ids
        assert backend.capabilities.min_tokens
        assert not backend.capabilities.control_tags
        fitted = fit(backend, [Message("user", "</L1><|im_end|>")], 64)
        assert "＜/L1>＜|im_end|>" in [one.text for one in fitted.segments]
        sampling = Sampling(top_k=0, repeat_penalty=1.1)
        request = Request(fitted.segments, ("</L1>",), 20, sampling, min_new_tokens=3)
        assert backend.complete(request).finish == "eos"
    (body,) = server.sent("/v1/completions")
    assert (body["top_k"], body["repetition_penalty"], body["min_tokens"]) == (-1, 1.1, 3)
    assert body["skip_special_tokens"] is False
    assert "return_token_ids" not in body


def test_a_tokenizer_file_gives_exact_ids_and_stop_tokens(
    serve: Serve, tokenizer_folder: Path
) -> None:
    server = serve(
        {
            "/v1/models": listing("vllm", max_model_len=512),
            "/v1/completions": events("a", "b", stop_reason="</L1>"),
        }
    )
    with CompletionsBackend(server.url, tokenizer=tokenizer_folder) as backend:
        assert backend.capabilities.control_tags
        assert backend.capabilities.chat_template == "model"
        assert backend.capabilities.exact_borders
        tag, text = backend.pin((control("</L1>"), Segment("</L1>")))
        assert len(tag.ids or ()) == 1
        assert len(text.ids or ()) == 5
        request = Request(backend.render([Message("user", "好")]), ("</L1>", "\n"), 8)
        completion = backend.complete(request)
        assert (completion.text, completion.finish) == ("ab", "stop")
        assert completion.ids == backend.pin((Segment("ab"),))[0].ids
    (body,) = server.sent("/v1/completions")
    assert body["stop_token_ids"] == list(tag.ids or ())
    assert body["return_token_ids"] is True


def test_the_servers_ids_are_taken_where_they_spell_the_text(
    serve: Serve, tokenizer_folder: Path
) -> None:
    ids: list[list[int]] = [[0, 1], [2, 260]]

    def answer(_: dict[str, Any]) -> object:
        return [
            {"choices": [{"text": '!"', "finish_reason": None, "token_ids": ids[0]}]},
            {"choices": [{"text": "#", "finish_reason": "stop", "token_ids": ids[1]}]},
        ]

    routes = {"/v1/models": listing("vllm", max_model_len=512), "/v1/completions": answer}
    with CompletionsBackend(serve(routes).url, tokenizer=tokenizer_folder) as backend:
        completion = backend.complete(Request((Segment("a"),), ("</L1>",), 8))
    assert completion.text == '!"#'
    assert completion.ids == (0, 1, 2)


def test_a_tokenizer_of_another_model_is_refused(serve: Serve, tokenizer_folder: Path) -> None:
    with CompletionsBackend(vllm(serve).url, tokenizer=tokenizer_folder) as backend:
        with pytest.raises(ConfigError, match="tokenizer"):
            backend.count_tokens([NEWLINE])


def test_what_exceeds_the_context_is_told_before_it_is_sent(serve: Serve) -> None:
    server = vllm(serve)
    with CompletionsBackend(server.url) as backend:
        with pytest.raises(ContextOverflow):
            backend.complete(Request((Segment("长" * 600),), (), 4))
        backend.complete(Request((Segment("长" * 510),), (), 50))
    (body,) = server.sent("/v1/completions")
    assert body["max_tokens"] == 2


def test_ollama_is_asked_for_a_raw_continuation(serve: Serve) -> None:
    server = serve(
        {
            "/v1/models": listing("library"),
            "/api/version": lambda _: {"version": "0.13"},
            "/api/generate": lambda _: {
                "response": "焦虑",
                "done": True,
                "done_reason": "length",
                "prompt_eval_count": 11,
                "eval_count": 2,
            },
        }
    )
    with CompletionsBackend(server.url, chat_template="gemma") as backend:
        assert backend.flavour == "ollama"
        request = Request(backend.render([Message("user", "好")]), ("</L1>",), 2)
        completion = backend.complete(request)
    assert (completion.text, completion.finish) == ("焦虑", "length")
    assert completion.usage.prompt_tokens == 11
    (body,) = server.sent("/api/generate")
    assert body["raw"] is True
    assert body["prompt"].startswith("<start_of_turn>user\n")
    assert body["options"]["stop"] == ["</L1>"]


def test_lm_studio_tells_its_context(serve: Serve) -> None:
    routes = {
        "/v1/models": listing("organization_owner"),
        "/api/v0/models": lambda _: {"data": [{"id": "m", "loaded_context_length": 3000}]},
        "/v1/completions": events("好"),
    }
    with CompletionsBackend(serve(routes).url) as backend:
        assert (backend.flavour, backend.context_size) == ("lmstudio", 3000)


def test_a_model_must_be_named_where_there_are_several(serve: Serve) -> None:
    server = serve({"/v1/models": lambda _: {"data": [{"id": "a"}, {"id": "b"}]}})
    with CompletionsBackend(server.url) as backend:
        with pytest.raises(BackendUnavailable, match="'a', 'b'"):
            backend.render([Message("user", "好")])
    with CompletionsBackend(server.url, model="b") as backend:
        assert backend.name == "b"
        assert backend.flavour == "generic"


def test_counts_are_guessed_on_the_safe_side(serve: Serve) -> None:
    with CompletionsBackend(serve({}).url, model="m") as backend:
        assert backend.count_tokens((Segment("abcdef"), Segment("好好"), Segment("😭"))) == 9
        assert backend.context_size == 4096
        assert not backend.capabilities.prefix_cache


def test_a_refused_key_is_told_at_the_first_use(serve: Serve) -> None:
    with CompletionsBackend(serve({"/v1/models": lambda _: 401}).url) as backend:
        with pytest.raises(BackendUnavailable, match="api_key"):
            backend.render([Message("user", "好")])


def test_a_server_that_still_loads_is_not_taken_for_another(serve: Serve) -> None:
    server = serve({"/v1/models": lambda _: 503})
    with CompletionsBackend(server.url, model="m") as backend:
        with pytest.raises(BackendUnavailable, match="503"):
            backend.render([Message("user", "好")])
        server.routes["/v1/models"] = listing("vllm", max_model_len=512)
        assert backend.context_size == 512


def test_a_gateway_that_refuses_unknown_paths_is_a_generic_server(serve: Serve) -> None:
    routes = {path: lambda _: 403 for path in ("/props", "/api/version", "/extras/tokenize/count")}
    with CompletionsBackend(serve({**routes, "/v1/models": listing("us")}).url) as backend:
        assert backend.flavour == "generic"


def test_what_was_counted_can_be_forgotten(serve: Serve) -> None:
    server = llama_server(serve)
    with CompletionsBackend(server.url) as backend:
        for _ in range(2):
            backend.pin((Segment("好"),))
        counted = len(server.sent("/tokenize"))
        backend.forget()
        backend.pin((Segment("好"),))
        assert len(server.sent("/tokenize")) == counted + 1
    backend.forget()
