"""How an option is declared: name and type in a class, all else in ``options.toml``; checked on construction.

Covers what every experiment has, and the options that say where results go.  Leaves out the experiments' own
options: ``tiny``, ``language``, ``contexts`` and ``trained``.
"""

import math
import operator
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from llmlab.errors import SettingError

DECLARED: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("options.toml").read_text("utf-8")
)
"""By class and name."""

OPTION: Any = None
"""Stands in a class for what is declared."""

META: dict[str, Any] = {
    "presets": {},  # the default by preset: its own, else that of original; by a text's name what pocket gives on it
    "low": None,  # smallest value
    "above": None,  # a value that is too small
    "high": None,  # largest value
    "below": None,  # a value that is too large
    "choices": [],  # the only values
    "words": [],  # what a shell completes where there are other values too, or several with commas between
    "variable": "",  # of the environment, which gives the default
    "argument": False,  # true for a word of its own on the command line, without a flag
    "from_stdin": False,  # true if - means standard input
    "recorded": True,  # false for what says where files are, which no log entry shows
    "typed": True,  # false for what no command line gives, but a copy takes along
}
"""What is known of an option beside its help and its default."""

BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "above": (operator.gt, "is not above"),
    "below": (operator.lt, "is not below"),
    "low": (operator.ge, "is below the smallest allowed value,"),
    "high": (operator.le, "is above the largest allowed value,"),
}
"""What holds within a bound, and what is said of a value beyond it."""

LANGUAGE_VARIABLE = DECLARED["RunOptions"]["lang"]["variable"]
PATHS = ("data", "original", "pretrained", "resume")
"""The options that may be a path but are text, for they may be a name too."""

T = TypeVar("T")


def named(settings: str, name: str) -> tuple[str, ...]:
    """Return the values of an option that have a name."""
    declared = DECLARED[settings][name]
    return tuple(declared.get("choices") or declared["words"])


def options_of(settings: type | Any) -> list[Field[Any]]:
    """Return the fields of settings that a command line may give."""
    return [declared for declared in fields(settings) if declared.metadata["typed"]]


def flag(name: str) -> str:
    """Return a field's command-line spelling: ``weight_decay`` is ``--weight-decay``."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that are checked on construction.

    Raises:
        SettingError: a value is out of its range or not among its choices.
    """

    def __init_subclass__(cls) -> None:
        """Make what is declared of the class fields; of an inherited option only what is other about it is declared."""
        for name, own in DECLARED.get(cls.__name__, {}).items():
            inherited = getattr(cls, "__dataclass_fields__", {}).get(name)
            above = inherited.metadata if inherited else META | DECLARED.get(own.get("like", ""), {}).get(name, {})
            data = {**above, **own}
            data["help"] = data["help"].replace("{words}", ", ".join(data["words"]))
            if inherited:
                cls.__annotations__ = cls.__annotations__ | {name: inherited.type}
            default: Any = None if data["presets"] else data.get("default")
            made = Path(default) if cls.__annotations__[name] is Path else default
            setattr(cls, name, field(default=made, metadata=data))

    def __post_init__(self) -> None:
        for declared in fields(self):
            by_preset = declared.metadata["presets"]
            if by_preset and getattr(self, declared.name) is None:
                # an unknown preset is refused in its own turn; one that says nothing here leaves it to the notes' own
                preset, data = vars(self).get("preset"), vars(self).get("data")
                own = data if preset == "pocket" and data in by_preset else preset  # a text's own numbers come first
                self.fill(declared.name, by_preset.get(own, by_preset["original"]))
            value = getattr(self, declared.name)
            if isinstance(value, Path) or (declared.name in PATHS and value):
                self.fill(declared.name, type(value)(os.path.expanduser(value)))  # noqa: PTH111 - this one never fails
            if wrong := _wrong(getattr(self, declared.name), declared.metadata):
                variable = declared.metadata["variable"]
                raise SettingError(f"{flag(declared.name)}{f' (or {variable})' if variable else ''}: {wrong}")

    def fill(self, name: str, value: Any) -> None:
        """Set a value while the options are made; afterwards nothing changes them."""
        object.__setattr__(self, name, value)


def _wrong(value: Any, data: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, or nothing."""
    if data["choices"] and value not in data["choices"]:
        return f"{value!r} is not one of {', '.join(data['choices'])}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    for name, (holds, told) in BOUNDS.items():
        if data[name] is not None and not holds(value, data[name]):
            return f"{value} {told} {data[name]:g}"
    return ""


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """What every experiment has.  Subclasses add their own fields."""

    experiment: ClassVar[str]
    places: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The options that may be a path of the reader's own, each with the names that are none."""

    first: ClassVar[tuple[str, ...]] = ()
    """The options that a learner needs, in the order of the help, before the seeds."""

    seed: int = OPTION
    seeds: int = OPTION

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, in the order they are declared; of a path only its last name."""
        shown = {declared.name for declared in fields(self) if declared.metadata["recorded"]}
        paths = {name: f"path: {Path(getattr(self, name)).name}" for name in self.places if self._is_path(name)}
        return {name: value for name, value in (asdict(self) | paths).items() if name in shown}

    def _is_path(self, name: str) -> bool:
        return name in self.places and getattr(self, name) not in self.places[name]

    def spelled(self, name: str) -> str:
        """Return an option's value as the published command gives it; a word in capitals is the reader's to fill in."""
        return "PATH" if self._is_path(name) else str(getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """What every experiment's command offers beside its settings: where results go, not what they are."""

    full: bool = OPTION
    json: bool = OPTION
    log: bool = OPTION
    log_dir: Path | None = OPTION
    expect: str = OPTION
    note: str = OPTION
    lang: str = OPTION
    quiet: bool = OPTION
    threads: int = OPTION
    debug: bool = OPTION


def listed(name: str, words: str, read: Callable[[str], T | None], wanted: str) -> list[T]:
    """Return the values that words with commas between them name.

    Args:
        name: of the option.
        words: for example ``1,2,4``.
        read: returns the value of a word, or ``None`` where it is none.
        wanted: what such a word is not, for the message.

    Raises:
        SettingError: a word is no value, or one is listed twice.
    """
    found: dict[str, T] = {}
    for word in (each.strip() for each in words.split(",")):
        value = read(word)
        if value is None:
            raise SettingError(f"{name}: {word[:40]!r} is {wanted}")
        told = f"{value:g}" if isinstance(value, float) else str(value)  # as it stands in tables and folders
        if told in found:
            raise SettingError(f"{name}: {told} is listed twice")
        found[told] = value
    return list(found.values())


def among(name: str, words: str, allowed: tuple[str, ...]) -> list[str]:
    """Return the words that a list names, in the order of what is allowed."""
    wanted = f"not one of {', '.join(allowed)}"
    return sorted(listed(name, words, lambda word: word if word in allowed else None, wanted), key=allowed.index)


def whole_numbers(name: str, words: str, low: int, high: int, wanted: str) -> list[int]:
    """Return the whole numbers in a range that a list names, smallest first."""

    def read(word: str) -> int | None:
        return int(word) if word.isdecimal() and len(word) < 11 and low <= int(word) <= high else None

    return sorted(listed(name, words, read, wanted))
