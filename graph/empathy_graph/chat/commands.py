"""What begins with a slash, and the words that leave at once.

`handle` takes one line of input, does what it says and returns whether the chat goes on. A text of several lines is
always a message, so a pasted one is never taken for a command. Two slashes send a message that begins with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from empathy_agent.errors import ConfigError
from empathy_agent.safety import load_regions
from empathy_agent.vocabulary import SUPPORTS, Language, Support
from empathy_graph.chat.sanitise import printable
from empathy_graph.chat.session import ChatSession

EXIT_WORDS = frozenset({"quit", "exit", "退出"})
"""Messages that leave, because an easy way out must need no command."""
AUTO = "auto"


def find_support(word: str) -> Support | None:
    """Return the support that `word` names by its id or its Chinese label."""
    for name, label in SUPPORTS.items():
        if word.lower() in (name, label.zh):
            found: Support = name  # type: ignore[assignment]  # the keys of SUPPORTS are the values of Support
            return found
    return None


def _choices(lang: Language) -> str:
    return ", ".join(getattr(label, lang) for label in SUPPORTS.values())


def _support(session: ChatSession, argument: str) -> None:
    texts, lang = session.view.texts, session.view.lang
    if argument and argument.lower() != AUTO and find_support(argument) is None:
        session.view.hint(texts.support_unknown.format(choices=_choices(lang)))
        return
    if argument:
        session.support = find_support(argument)
    if session.support is None:
        session.view.hint(texts.support_auto.format(choices=_choices(lang)))
    else:
        label = getattr(SUPPORTS[session.support], lang)
        session.view.hint(texts.support_is.format(support=label))


def _chain(session: ChatSession, argument: str) -> None:
    if argument.lower() in ("on", "off"):
        session.show_chain = argument.lower() == "on"
        texts = session.view.texts
        session.view.hint(texts.chain_on if session.show_chain else texts.chain_off)
        return
    last = session.conversation.last
    session.view.chain(None if last is None else last.reply)


def _resources(session: ChatSession, argument: str) -> None:
    region = session.agent.settings.region
    for line in load_regions().get(region).line:
        session.view.print(f"· {line.text(session.view.lang)}")
    if region is None:
        session.view.hint(session.view.texts.resources_generic)


COMMANDS: Mapping[str, Callable[[ChatSession, str], None]] = {
    "support": _support,
    "chain": _chain,
    "retry": lambda session, argument: session.retry(),
    "save": ChatSession.save,
    "forget": lambda session, argument: session.forget(),
    "resources": _resources,
    "help": lambda session, argument: session.view.print(session.view.texts.help),
}
LEAVE = "quit"


def handle(session: ChatSession, line: str) -> bool:
    """Do what one input says; return whether the chat goes on."""
    text = printable(line).strip()
    if text.lower() in EXIT_WORDS:
        return False
    if text.startswith("／"):  # an input method's full-width slash
        text = "/" + text[1:].replace("／", "/", 1)
    if text.startswith("//"):
        session.say(text[1:])
    elif text.startswith("/") and "\n" not in text:
        name, _, argument = text[1:].partition(" ")
        if name.lower() == LEAVE:
            return False
        _run(session, name.lower(), argument.strip())
    elif text:
        session.say(text)
    return True


def _run(session: ChatSession, name: str, argument: str) -> None:
    command = COMMANDS.get(name)
    if command is None:
        texts = session.view.texts
        near = get_close_matches(name, (*COMMANDS, LEAVE), n=1)
        hint = texts.near.format(near=f"/{near[0]}") if near else ""
        session.view.hint(" ".join(filter(None, (texts.unknown, hint, texts.slash))))
        return
    try:
        command(session, argument)
    except ConfigError as error:
        session.view.note(str(error))
