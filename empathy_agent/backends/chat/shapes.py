"""What is asked for of each layer: the fields of its reading, as a JSON schema and as a lenient validator.

The schema that a model is given is plain, so that the strict modes of all providers take it: no references, no
defaults, every field required, the vocabularies as enums of their labels in the conversation's language, which are also
the words of the instructions. What comes back is validated more leniently: ids and labels of either language count,
digits are numbers, what is optional may be missing. A quote that is no substring of the post is dropped, and
a layer is written with the functions that write training data, so it reads back as it was meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from empathy_agent import layer_grammar as grammar
from empathy_agent.chain import Emotion, Evidence
from empathy_agent.layer_text import (
    read_layer,
    write_cause,
    write_emotion,
    write_intention,
    write_strategy,
)
from empathy_agent.segments import escape
from empathy_agent.vocabulary import (
    ACTS,
    EMOTIONS,
    SUPPORTS,
    Act,
    Label,
    Language,
    LayerName,
    Support,
)

_MARKS: Final = "「」『』“”\"'‘’ \t\n"
_KEPT: Final = ("type", "properties", "required", "items", "enum", "description")
_MOST_PROBLEMS: Final = 8


def _one_of(reader: grammar.LabelReader) -> BeforeValidator:
    """Return a validator that takes an id, or a label of either language for it."""

    def check(value: object) -> str:
        found = reader.match(value.strip()) if isinstance(value, str) else None
        if found is None or found[1].strip():
            raise ValueError("must be one of the values that the schema lists")
        return found[0]

    return BeforeValidator(check)


def _labels(labels: Mapping[str, Label], lang: Language) -> list[str]:
    return [label.zh if lang == "zh" else label.en for label in labels.values()]


def _words(vocabulary: str) -> WithJsonSchema:
    """Return a schema whose enum is filled in with the labels of the conversation's language."""
    return WithJsonSchema({"type": "string", "vocabulary": vocabulary})


def _blank(value: object) -> object:
    return "" if value is None else value


_VOCABULARIES: Final = {"emotions": EMOTIONS, "supports": SUPPORTS, "acts": ACTS}
_EmotionId = Annotated[str, _one_of(grammar.EMOTION_LABELS), _words("emotions")]
_SupportId = Annotated[Support, _one_of(grammar.SUPPORT_LABELS), _words("supports")]
_ActId = Annotated[Act, _one_of(grammar.ACT_LABELS), _words("acts")]
_Intensity = Annotated[
    int, Field(ge=1, le=3), WithJsonSchema({"type": "integer", "enum": [1, 2, 3]})
]
_Prose = Annotated[str, BeforeValidator(_blank)]
_Quote = Annotated[
    str,
    BeforeValidator(_blank),
    Field(description="the person's own words, copied without any change; empty if there are none"),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    def write(self, lang: Language, post: str) -> str:
        """Return the canonical text of what was read."""
        raise NotImplementedError


class _EmotionItem(_Shape):
    emotion: _EmotionId
    intensity: _Intensity = Field(description="1 slight, 2 clear, 3 strong")
    quote: _Quote = ""


class _Emotions(_Shape):
    emotions: list[_EmotionItem] = Field(min_length=1, description="one to three, strongest first")
    situation: _Prose = Field(default="", description="one sentence")

    def write(self, lang: Language, post: str) -> str:
        items = [
            Emotion.model_validate(
                {"id": one.emotion, "intensity": one.intensity, "quote": _grounded(one.quote, post)}
            )
            for one in self.emotions
        ]
        return write_emotion(items, self.situation, lang)


class _EvidenceItem(_Shape):
    text: str = Field(min_length=1)
    quote: _Quote = ""


class _Causes(_Shape):
    causes: list[_EvidenceItem] = Field(min_length=1, description="what led to it")
    beliefs: list[_EvidenceItem] = Field(
        default=[], description="thoughts or beliefs that stand out; may be empty"
    )

    def write(self, lang: Language, post: str) -> str:
        def evidence(items: Sequence[_EvidenceItem]) -> list[Evidence]:
            return [Evidence(text=one.text, quote=_grounded(one.quote, post)) for one in items]

        return write_cause(evidence(self.causes), evidence(self.beliefs), None, lang)


class _Intention(_Shape):
    primary: _SupportId = Field(description="the support that is wanted most")
    others: list[_SupportId] = Field(default=[], description="may be empty")
    sentence: _Prose = Field(default="", description="one sentence on what they want")

    def write(self, lang: Language, post: str) -> str:
        return write_intention(self.primary, self.others, self.sentence, lang)


class _Strategy(_Shape):
    acts: list[_ActId] = Field(min_length=1, description="what the reply does, in order")
    sentence: _Prose = Field(default="", description="one sentence on how")

    def write(self, lang: Language, post: str) -> str:
        return write_strategy(self.acts, self.sentence, lang)


class _Rest(_Shape):
    """What is left to write of a layer whose items stand already."""

    sentence: str = Field(min_length=1, description="one sentence that goes on from what stands")

    def write(self, lang: Language, post: str) -> str:
        return write_strategy((), self.sentence, lang)


_SHAPES: Final[Mapping[LayerName, type[_Shape]]] = {
    "emotion": _Emotions,
    "cause": _Causes,
    "intention": _Intention,
    "strategy": _Strategy,
}


class Form:
    """The structured answer that one call is asked for.

    Args:
        names: The layers in it; several are nested under their names.
        lead: What is already written of the only layer; only its sentence is left if its items stand there.
        post: The seeker's words.
        lang: The language of the layers' texts.
    """

    def __init__(
        self, names: Sequence[LayerName], lang: Language, post: str, lead: str = ""
    ) -> None:
        self._lang, self._post = lang, post
        has_items = bool(lead) and _has_items(names[0], lead, post)
        self._shapes = {name: _Rest if has_items else _SHAPES[name] for name in names}
        schemas: dict[str, object] = {}
        for name, shape in self._shapes.items():
            schemas[name] = body = _plain(shape.model_json_schema(), lang)
        if len(names) > 1:
            body = _object(schemas)
        self.schema: Mapping[str, object] = {
            "title": "reading",
            "description": "The layers that are asked for.",
            **body,
        }
        """The JSON schema, with the title and description that tools need."""

    def read(self, data: Mapping[str, object] | None) -> tuple[dict[LayerName, str], list[str]]:
        """Return the layers' texts, or else what is wrong with `data`, quoting nothing of it."""
        if data is None:
            return {}, ["the answer must be one JSON object, with nothing before or after it"]
        texts: dict[LayerName, str] = {}
        problems: list[str] = []
        for name, shape in self._shapes.items():
            part = data.get(name)
            if len(self._shapes) == 1 and not isinstance(part, Mapping):
                part = data
            try:
                read = shape.model_validate(part)
            except ValidationError as error:
                prefix = () if len(self._shapes) == 1 else (name,)
                problems += _problems(error, prefix)
            else:
                texts[name] = escape(read.write(self._lang, self._post))
        return ({}, problems[:_MOST_PROBLEMS]) if problems else (texts, [])


def _has_items(name: LayerName, text: str, post: str) -> bool:
    fields = read_layer(name, text, post=post).model_dump(exclude={"text", "finish"})
    return any(fields.get(key) for key in ("emotions", "causes", "beliefs", "primary", "acts"))


def _grounded(quote: str, post: str) -> str | None:
    """Return `quote`, without marks around it if need be, where it is in the post."""
    for form in (quote.strip(), quote.strip(_MARKS), quote.strip(_MARKS + "，,。.…")):
        if form and form in post:
            return form
    return None


def _problems(error: ValidationError, prefix: tuple[str, ...]) -> list[str]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        f"{'.'.join((*prefix, *map(str, one['loc']))) or 'the answer'}: "
        f"{one['msg'].removeprefix('Value error, ')}"
        for one in found
    ]


def _object(properties: Mapping[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _plain(schema: Mapping[str, Any], lang: Language) -> dict[str, object]:
    """Return pydantic's schema without references, defaults, titles and bounds."""
    definitions = schema.get("$defs", {})

    def walk(node: Mapping[str, Any]) -> dict[str, object]:
        if "$ref" in node:
            return walk(definitions[node["$ref"].rpartition("/")[2]])
        kept = {key: node[key] for key in _KEPT if key in node}
        if "vocabulary" in node:
            kept["enum"] = _labels(_VOCABULARIES[node["vocabulary"]], lang)
        if "items" in kept:
            kept["items"] = walk(node["items"])
        if "properties" in kept:
            return kept | _object({key: walk(one) for key, one in node["properties"].items()})
        return kept

    return {key: value for key, value in walk(schema).items() if key != "description"}
