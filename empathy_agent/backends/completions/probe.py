"""Ask a server once what it is: its kind, model, context, tokenizer and chat template.

`/v1/models` names the owner, which tells most kinds apart; for the others one endpoint that only
they have is tried. Nothing of a conversation is sent. What stays unknown gets a careful default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from empathy_agent.backends.chat_template import Apply, plain_template
from empathy_agent.backends.completions.calls import Calls
from empathy_agent.backends.completions.dialects import DIALECTS, Dialect, Flavour
from empathy_agent.backends.completions.options import Options
from empathy_agent.backends.completions.templates import (
    WELL_KNOWN_SPECIALS,
    choose_template,
    special_token,
)
from empathy_agent.backends.completions.tokens import (
    Guess,
    LocalTokens,
    RemoteTokens,
    Tokens,
    Traits,
    check_same,
    token_list,
)
from empathy_agent.errors import BackendUnavailable
from empathy_agent.segments import ALL_TAGS

_OWNERS: dict[str, Flavour] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama-server",
    "organization_owner": "lmstudio",
}
_SAMPLE = "a 好</L1>\n"


@dataclass(frozen=True)
class Server:
    """What the probe found."""

    model: str
    dialect: Dialect
    context_size: int
    tokens: Tokens
    takes_ids: bool
    """Prompts are sent as ids, segment by segment; otherwise as one escaped text."""
    bos: str
    """Written by us before every prompt; empty where the server or the template does it."""
    apply: Apply
    specials: tuple[str, ...]

    @property
    def has_template(self) -> bool:
        """Whether a chat template is used and not the plain one."""
        return self.apply is not plain_template


async def probe(calls: Calls, options: Options) -> Server:
    """Find out what the server at `options.url` is.

    Raises:
        Fault: It cannot be reached, or refuses the key.
        BackendUnavailable: It offers several models and none was named, or none at all.
    """
    listed = await calls.find("GET", f"{options.url}/models", is_optional=False)
    entries = [one for one in _entries(listed) if isinstance(one.get("id"), str)]
    model = _choose(options.model, [one["id"] for one in entries])
    entry = next((one for one in entries if one["id"] == model), entries[0] if entries else {})
    props: Any = None
    flavour = _OWNERS.get(str(entry.get("owned_by")))
    if flavour in (None, "llama-server"):
        props = await calls.find("GET", f"{options.root}/props")
        if isinstance(props, dict) and "default_generation_settings" in props:
            flavour = "llama-server"
    flavour = flavour or await _other(calls, options)
    if flavour == "lmstudio":
        loaded = _entries(await calls.find("GET", f"{options.root}/api/v0/models"))
        entry = next((one for one in loaded if one.get("id") == model), entry)
    dialect = DIALECTS[flavour]
    props = props if isinstance(props, dict) else {}
    tokens = await _tokens(calls, options, dialect, model, props)
    traits = tokens.traits
    takes_ids = dialect.takes_ids and tokens.spells and traits.has_exact_borders
    bos = traits.bos if takes_ids else ""
    apply = choose_template(
        options.chat_template,
        props.get("chat_template") or None,
        options.tokenizer,
        bos=bos,
        eos=str(props.get("eos_token") or special_token(options.tokenizer, "eos_token")),
    )
    own = (props.get("bos_token"), props.get("eos_token"), *traits.specials)
    return Server(
        model=model,
        dialect=dialect,
        context_size=options.context_size or _context(entry, props) or dialect.default_context,
        tokens=tokens,
        takes_ids=takes_ids,
        bos=bos,
        apply=apply,
        specials=tuple(
            sorted({one for one in (*own, *WELL_KNOWN_SPECIALS) if isinstance(one, str) and one})
        ),
    )


def _entries(listed: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    data = listed.get("data") if isinstance(listed, dict) else None
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []


def _choose(wanted: str | None, offered: Sequence[str]) -> str:
    if wanted:
        return wanted
    if len(offered) == 1:
        return offered[0]
    if not offered:
        raise BackendUnavailable("the server lists no model; load one there, or name it as 'model'")
    names = ", ".join(repr(one) for one in offered[:8])
    raise BackendUnavailable(f"the server offers several models, name one as 'model': {names}")


async def _other(calls: Calls, options: Options) -> Flavour:
    counted = await calls.find("POST", f"{options.root}/extras/tokenize/count", {"input": "a"})
    if isinstance(counted, dict) and isinstance(counted.get("count"), int):
        return "llama_cpp.server"
    version = await calls.find("GET", f"{options.root}/api/version")
    if isinstance(version, dict) and "version" in version:
        return "ollama"
    return "generic"


def _context(entry: dict[str, Any], props: dict[str, Any]) -> int | None:
    settings = props.get("default_generation_settings")
    found = (
        entry.get("max_model_len"),
        settings.get("n_ctx") if isinstance(settings, dict) else None,
        entry.get("loaded_context_length"),
    )
    return next((one for one in found if isinstance(one, int) and one > 0), None)


async def _tokens(
    calls: Calls, options: Options, dialect: Dialect, model: str, props: dict[str, Any]
) -> Tokens:
    url = f"{options.root}/tokenize"
    flavour = dialect.flavour
    has_endpoint = False
    if flavour == "llama-server":
        has_endpoint = await calls.find("POST", url, {"content": "a"}) is not None
    elif dialect.takes_ids:
        has_endpoint = await calls.find("POST", url, {"model": model, "prompt": "a"}) is not None

    async def ask(text: str, is_control: bool, *, is_dressed: bool = False) -> tuple[int, ...]:
        if flavour == "llama-server":
            body = {"content": text, "add_special": is_dressed, "parse_special": is_control}
        else:
            body = {"model": model, "prompt": text, "add_special_tokens": is_dressed}
        return token_list(await calls.ask("POST", url, body))

    if options.tokenizer is not None:
        local = LocalTokens(options.tokenizer)
        if has_endpoint:
            check_same(await local.ids(_SAMPLE, is_control=True), await ask(_SAMPLE, True))
        return local
    if has_endpoint:
        bare, dressed = await ask("a", True), await ask("a", True, is_dressed=True)
        lead = dressed[: -len(bare)] if dressed[-len(bare) :] == bare else ()
        bos = await _spelled(calls, options, flavour, model, lead)
        tags, text = await ask("".join(ALL_TAGS), True), await ask("".join(ALL_TAGS), False)
        traits = Traits(
            bos=bos,
            has_control_tags=len(tags) == len(ALL_TAGS) and not set(tags) & set(text),
            has_exact_borders=await _spelled(calls, options, flavour, model, bare * 2) == "aa",
        )
        return RemoteTokens(ask, traits, spells=True)
    if flavour == "llama_cpp.server":

        async def count(text: str, _: bool) -> tuple[int, ...]:
            extras = f"{options.root}/extras/tokenize"
            return token_list(await calls.ask("POST", extras, {"model": model, "input": text}))

        return RemoteTokens(count, Traits(), spells=False)
    return Guess()


async def _spelled(
    calls: Calls, options: Options, flavour: Flavour, model: str, ids: Sequence[int]
) -> str:
    """Return what the server says `ids` spell."""
    if not ids:
        return ""
    body: dict[str, object] = {"tokens": list(ids)}
    if flavour != "llama-server":
        # SGLang leaves specials out unless told; vLLM does not know the field and ignores it.
        body |= {"model": model, "skip_special_tokens": False}
    found = await calls.find("POST", f"{options.root}/detokenize", body)
    if not isinstance(found, dict):
        return ""
    text = next((found[key] for key in ("content", "prompt", "text") if key in found), "")
    return text if isinstance(text, str) else ""
