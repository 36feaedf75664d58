"""Sentences with numbers in them: a key and values, from which either language makes its own sentence.

A message stands once, in ``shown/messages/*.toml``, English and Japanese side by side:

    [phase1.reached]
    en = "The loss before the last of {updates:update} was {loss:.4f}."
    ja = "{updates:,}回の更新の最後の直前の損失は{loss:.4f}でした。"

In English a noun behind a hole counts: ``{seeds:seed}`` is "1 seed" or "1,000 seeds"; ``{label:word}`` is a word of
ours, which the other language says in its own way; ``{each:sentences}``, ``{each:commas}`` and
``{each:and}`` are lists.  Everything else is Python's own format.  A value may be a message itself, or a list of them.

In memory a message *is* its English text, so whoever only shows English need not know; in a record it is
``{"say": key, "with": values}``, and the sentence is made anew from the template of today.
"""

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any, cast

CODES = ("en", "ja")
JOINTS = {
    "en": {"": "; ", "commas": ", ", "and": " and ", "sentences": " ", "names": ", ", "ends": " "},
    "ja": {"": "、", "commas": "、", "and": "、", "sentences": "", "names": "、", "ends": ""},
}
"""What stands between the parts of a list, by language and by what the template calls it."""


class Message(str):
    """A sentence of ours: its English text, and what says it in another language."""

    key: str
    values: Mapping[str, Any]

    def __new__(cls, key: str, values: Mapping[str, Any]) -> "Message":
        """Return the message; one that cannot be said, for a record may hold anything, is its key and values."""
        message = super().__new__(cls, said(key, values, "en"))
        message.key, message.values = key, values
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (self.key, self.values)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        from pydantic_core import core_schema  # only whoever reads records needs it

        return core_schema.is_instance_schema(cls)

    def spoken(self, code: str, word: Callable[[str], str] = str) -> str:
        """Return the sentence in a language; ``word`` says a word of ours in it."""
        return str(self) if code == "en" else said(self.key, self.values, code, word)


Text = Message | str
"""What a result says: words that stand as they are, or a message."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 seed``, ``1,000 seeds``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def say(key: str, /, **values: Any) -> Message:
    """Return a message.

    Raises:
        KeyError: there is no such message.
        ValueError: it needs other values.
    """
    template = messages()[key]["en"]
    wanted = {name for _, name, _, _ in Formatter().parse(template) if name}
    if wanted != values.keys():
        raise ValueError(f"{key}: takes {sorted(wanted)}, not {sorted(values)}")
    return Message(key, values)


def sentences(*each: Text) -> Text:
    """Return sentences as one text, without those that are empty."""
    there = [one for one in each if one]
    if not any(isinstance(one, Message) for one in there):
        return " ".join(there)
    return there[0] if len(there) == 1 else say("text.sentences", each=there)


def worded(row: object, name: str, code: str) -> str:
    """Return a text that stands in two languages, ``why`` and ``why_ja``, in one of them as far as it is there."""
    return str(getattr(row, f"{name}_{code}", "") or getattr(row, name))


def read(value: Any) -> Any:
    """Return what a record holds with its messages in the place of their documents."""
    if isinstance(value, list):
        return [read(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    inside = {str(name): read(inner) for name, inner in value.items()}
    if inside.keys() == {"say", "with"} and isinstance(inside["say"], str) and isinstance(inside["with"], dict):
        return Message(inside["say"], inside["with"])
    return inside


def stored(value: Any) -> Any:
    """Return JSON values with each message in them as it stands in a record; what ``read`` reads."""
    if isinstance(value, Message):
        return {"say": value.key, "with": stored(dict(value.values))}
    if isinstance(value, dict):
        return {name: stored(inner) for name, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [stored(inner) for inner in value] if isinstance(value, list | tuple) else value


@cache
def messages() -> dict[str, dict[str, str]]:
    """Return every message's templates, by key."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted((files("llmlab") / "shown" / "messages").iterdir(), key=lambda file: file.name):
        for group, entries in tomllib.loads(file.read_text("utf-8")).items():
            found |= {f"{group}.{name}": templates for name, templates in entries.items()}
    return found


def group(name: str, code: str) -> dict[str, str]:
    """Return a group's templates in a language, as they stand, by what comes after the group's name."""
    return {
        key.removeprefix(f"{name}."): templates[code]
        for key, templates in messages().items()
        if key.startswith(f"{name}.")
    }


def fill(template: str, values: Mapping[str, Any], code: str, word: Callable[[str], str] = str) -> str:
    """Return a template with its holes filled in a language.

    Raises:
        KeyError: a value is missing.
        ValueError, TypeError, OverflowError: one is not of the kind that the template wants.
    """
    return _Filled(code, word).vformat(template, (), values)


def said(key: str, values: Mapping[str, Any], code: str, word: Callable[[str], str] = str) -> str:
    """Return a message in a language; if it cannot be said, its key and values."""
    try:
        return fill(messages()[key][code], values, code, word)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return f"{key} {dict(values)}"


class _Filled(Formatter):
    """Fills the holes of a template in a language."""

    def __init__(self, code: str, word: Callable[[str], str]) -> None:
        self.code, self.word = code, word

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        """Return a value by its plain name: a template reaches into nothing."""
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a value as the template wants it."""
        if isinstance(value, Message):
            return value.spoken(self.code, self.word)
        if isinstance(value, list | tuple):
            joints = JOINTS[self.code]
            joint = joints.get(format_spec, joints[""])
            return joint.join(self.format_field(inner, format_spec) for inner in value)
        if isinstance(value, str):
            return self.word(value) if format_spec in ("word", "commas", "sentences") else value
        if isinstance(value, int) and len(format_spec) > 1 and format_spec.replace(" ", "").isalpha():
            return counted(value, format_spec)
        return cast(str, super().format_field(value, format_spec))
