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
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any

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
    found = sorted((files("llmlab") / "shown" / "messages").iterdir(), key=lambda file: file.name)
    groups = [one for file in found for one in tomllib.loads(file.read_text("utf-8")).items()]
    return {f"{group}.{name}": templates for group, each in groups for name, templates in each.items()}


def group(name: str, code: str) -> dict[str, str]:
    """Return a group's templates in a language, as they stand, by what comes after the group's name."""
    parts = [(key.partition("."), templates[code]) for key, templates in messages().items()]
    return {inner: template for (outer, _, inner), template in parts if outer == name}


def fill(template: str, values: Mapping[str, Any], code: str, word: Callable[[str], str] = str) -> str:
    """Return a template with its holes filled in a language.

    Raises:
        KeyError: a value is missing.
        ValueError, TypeError, OverflowError: one is not of the kind that the template wants.
    """
    parts = []
    for before, name, wanted, _ in Formatter().parse(template):
        parts.append(before)
        if name is not None:  # plainly so: a template reaches into nothing
            parts.append(_told(values[name], wanted or "", code, word))
    return "".join(parts)


def _told(value: Any, wanted: str, code: str, word: Callable[[str], str]) -> str:
    """Return a value as a template wants it."""
    if isinstance(value, Message):
        return value.spoken(code, word)
    if isinstance(value, list | tuple):
        joint = JOINTS[code].get(wanted, JOINTS[code][""])
        return joint.join(_told(inner, wanted, code, word) for inner in value)
    if isinstance(value, str):
        return word(value) if wanted in ("word", "commas", "sentences") else value
    if isinstance(value, int) and len(wanted) > 1 and wanted.replace(" ", "").isalpha():
        return counted(value, wanted)
    return format(value, wanted)


def said(key: str, values: Mapping[str, Any], code: str, word: Callable[[str], str] = str) -> str:
    """Return a message in a language; if it cannot be said, its key and values."""
    try:
        return fill(messages()[key][code], values, code, word)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return f"{key} {dict(values)}"
