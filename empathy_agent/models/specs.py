"""What a person writes after `--model`, read into what it names; nothing is opened or fetched here.

    tiny                        the embedded model
    fake                        the scripted one, for tests
    path/to/model.gguf          a GGUF file
    path/to/folder              a folder as transformers saves it
    hf:org/repo[/file][@rev]    a model on the hub (see `hub_spec`)
    http://host:8000/v1[#name]  an endpoint that continues a prompt: vLLM, llama-server
    a LangChain chat model      the object itself

Whatever else is asked for is refused with the nearest of these.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from empathy_agent.errors import ConfigError
from empathy_agent.models.hub_spec import HubSpec, parse_spec

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

POSSIBLE = (
    "possible are 'tiny' (the embedded Chinese demonstration model), 'fake' (scripted, for tests), "
    "the path of a .gguf file or of a transformers folder, hf:org/repo/file.gguf, "
    "http://host:port/v1#model and a LangChain chat model; `empathy-agent models` lists some"
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(?:/[\w.-]+)*", re.A)
_HUB_HOSTS = ("huggingface.co", "hf.co", "hf-mirror.com")


@dataclass(frozen=True)
class Named:
    """The embedded model, or the fake."""

    name: Literal["tiny", "fake"]


@dataclass(frozen=True)
class LocalFile:
    """A GGUF file."""

    path: Path
    name: str | None = None
    """What replies call the model; None takes the name in the file."""


@dataclass(frozen=True)
class LocalFolder:
    """A folder with a `config.json`, as transformers saves it."""

    path: Path
    name: str | None = None
    """What replies call the model; None leaves it to the backend."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint that continues a prompt."""

    base_url: str
    model: str | None
    """The model's name there; None asks the endpoint."""


@dataclass(frozen=True)
class Chat:
    """A chat model of LangChain's."""

    model: BaseChatModel


Reference = Named | LocalFile | LocalFolder | HubSpec | Endpoint | Chat


def read_spec(spec: str | os.PathLike[str] | BaseChatModel) -> Reference:
    """Return what `spec` names.

    Raises:
        ConfigError: It names nothing that can be opened.
    """
    if not isinstance(spec, str | os.PathLike):
        return _read_object(spec)
    text = os.fspath(spec)
    if text in ("tiny", "fake"):
        return Named("tiny" if text == "tiny" else "fake")
    if text.startswith("hf:") and not text.startswith("hf://"):
        return parse_spec(text)
    if text.lower().startswith(("http://", "https://")):
        return _read_address(text)
    return _read_path(text)


def _read_object(model: object) -> Chat:
    from langchain_core.language_models import BaseChatModel

    if isinstance(model, BaseChatModel):
        return Chat(model)
    raise ConfigError(f"a {type(model).__name__} is no model; {POSSIBLE}")


def _read_address(text: str) -> Endpoint:
    parts = _split(text)
    if parts is None or not parts.hostname or parts.query:
        raise ConfigError("cannot read the address; write http://host:port/v1 or ...#model")
    if parts.username or parts.password:
        raise ConfigError("leave user and password out of the address; keys belong in 'api_key'")
    if parts.hostname.removeprefix("www.") in _HUB_HOSTS:
        repository = "/".join(parts.path.strip("/").split("/")[:2])
        raise ConfigError(
            f"that is a page of the hub, not an endpoint; did you mean 'hf:{repository}'?"
        )
    path = parts.path.rstrip("/")
    base = f"{parts.scheme}://{parts.netloc}"
    if not path:
        raise ConfigError(f"{base!r} has no path; did you mean '{base}/v1'?")
    return Endpoint(base + path, unquote(parts.fragment) or None)


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed when it is read
    except ValueError:
        return None
    return parts


def _read_path(text: str) -> LocalFile | LocalFolder:
    path = Path(text).expanduser()
    if path.is_dir() and text:
        if (path / "config.json").is_file():
            return LocalFolder(path)
        raise ConfigError(f"there is no config.json in {str(path)!r}; {_instead(path)}")
    if path.suffix.lower() == ".gguf" and not text.startswith("hf:"):
        if not path.is_file():
            raise ConfigError(f"there is no model file at {str(path)!r}; {POSSIBLE}")
        return LocalFile(path)
    raise ConfigError(f"unknown model {text!r}; {_near(text)}{POSSIBLE}")


def _instead(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "it is a LoRA adapter: open its base model, with the option 'adapters'"
    files = sorted(entry.name for entry in folder.glob("*.gguf"))
    return f"name one of its files: {', '.join(files)}" if files else "it is no model folder"


def _near(text: str) -> str:
    from empathy_agent.models.catalogue import load_catalogue

    known = {"tiny": "tiny", "fake": "fake"}
    known |= {entry.name.lower(): entry.spec for entry in load_catalogue()}
    near = get_close_matches(text.lower(), known, n=1, cutoff=0.7)
    if near:
        return f"did you mean {known[near[0]]!r}? "
    bare = text.removeprefix("hf://").removeprefix("hf:")
    if _REPOSITORY.fullmatch(bare):
        return f"did you mean 'hf:{bare}'? "
    return ""
