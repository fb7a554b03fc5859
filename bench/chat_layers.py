"""Both ways of asking a chat model for the layers, side by side: `python -m bench.chat_layers`.

Without an endpoint a scripted model stands in, with a fixed delay for each call and each token, so that only the number
and size of the calls differ. It counts tokens as the backend estimates them. With `--base-url` and `--model` the same
turns go to any OpenAI-compatible chat endpoint through langchain-openai; the key is read from `OPENAI_API_KEY`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from empathy_agent.backends.chat import ChatBackend
from empathy_agent.chain import EmpathyReply, Usage
from empathy_agent.testing.scripted_chat import JsonChatModel
from empathy_graph.agent import EmpathyAgent
from empathy_graph.events import AnswerDelta

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from empathy_agent.backends.chat.asker import Layers

POSTS = {
    "zh": "异地恋两年，最近他总是很晚才回消息，我一个人在宿舍里胡思乱想，总觉得他不爱我了。"
    "想直接问，又怕显得我太敏感。",
    "en": "We have been long distance for two years and he answers later and later. I keep lying "
    "awake going over it, and I wonder whether he still loves me. I want to ask him, but I am "
    "afraid of seeming too sensitive.",
}
PRICES = (1.0, 4.0)
"""Per million input and output tokens; made up, to weigh the two against each other."""


@dataclass(frozen=True)
class Turn:
    """One turn, measured."""

    calls: int | None
    input_tokens: int
    output_tokens: int
    first_token_s: float
    seconds: float
    cost: float


def measure(model: BaseChatModel, layers: Layers, post: str) -> Turn:
    """Run one turn; the first token is taken after the rail, as a person sees it."""
    before = _calls(model)
    with ChatBackend(model, layers=layers, prices=PRICES) as backend:
        start, first, usage = time.perf_counter(), 0.0, Usage()
        for item in EmpathyAgent(backend).stream(post):
            if isinstance(item, AnswerDelta) and not first:
                first = time.perf_counter() - start
            if isinstance(item, EmpathyReply):
                usage = item.usage
        seconds = time.perf_counter() - start
    return Turn(
        None if before is None else (_calls(model) or 0) - before,
        usage.evaluated_tokens + usage.reused_tokens - usage.completion_tokens,
        usage.completion_tokens,
        first,
        seconds,
        usage.cost,
    )


def _calls(model: BaseChatModel) -> int | None:
    return len(model.calls) if isinstance(model, JsonChatModel) else None


def open_model(options: argparse.Namespace) -> BaseChatModel:
    """Return the endpoint's model, or the scripted one."""
    if options.base_url is None:
        return JsonChatModel(call_delay_s=options.call_delay, token_delay_s=options.token_delay)
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        raise SystemExit("a real endpoint needs langchain-openai; install it first") from None
    model: BaseChatModel = ChatOpenAI(
        base_url=options.base_url,
        model=options.model,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        stream_usage=True,
    )
    return model


def main() -> None:
    """Parse the arguments, run the turns alternately and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.chat_layers", description=__doc__)
    parser.add_argument("--base-url", help="of an OpenAI-compatible chat endpoint")
    parser.add_argument("--model", help="the endpoint's model")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--call-delay", type=float, default=0.4, help="seconds, scripted model")
    parser.add_argument("--token-delay", type=float, default=0.012, help="seconds, scripted model")
    options = parser.parse_args()
    if (options.base_url is None) != (options.model is None):
        parser.error("--base-url and --model go together")
    model = open_model(options)
    ways: tuple[Layers, ...] = ("together", "one_by_one")
    print("lang  layers      calls  input  output  first token  whole turn      cost")
    for lang, post in POSTS.items():
        turns: dict[Layers, list[Turn]] = {way: [] for way in ways}
        for _ in range(options.runs):
            for way in ways:
                turns[way].append(measure(model, way, post))
        for way in ways:
            print(f"{lang:5} {way:11} {_row(turns[way])}", flush=True)


def _row(turns: list[Turn]) -> str:
    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in turns))

    calls = "?" if turns[0].calls is None else f"{median('calls'):.0f}"
    return (
        f"{calls:>5} {median('input_tokens'):6.0f} {median('output_tokens'):7.0f} "
        f"{median('first_token_s'):10.2f} s {median('seconds'):9.2f} s {median('cost'):9.6f}"
    )


if __name__ == "__main__":
    main()
