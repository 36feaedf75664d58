"""How an option is declared: one dataclass field with its help, range, choices and presets, checked on construction.

Covers what every experiment has, and the options that say where results go.
"""

import math
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from llmlab.errors import SettingError

LANGUAGE_VARIABLE = "LLMLAB_LANG"
WATCH = "Redraw the picture in the terminal while it trains."
T = TypeVar("T")

KNOWN: dict[str, Any] = {
    "low": None,  # smallest value
    "above": None,  # a value that is too small
    "high": None,  # largest value
    "below": None,  # a value that is too large
    "choices": (),  # the only values
    "words": (),  # what a shell completes where there are other values too, or several with commas between
    "path": False,  # true for a text that is a path of the reader's own unless it is one of the words
    "variable": "",  # of the environment, which gives the default
    "argument": False,  # true for a word of its own on the command line, without a flag
    "from_stdin": False,  # true if - means standard input
    "recorded": True,  # false for what says where files are, which no log entry shows
    "typed": True,  # false for what no command line gives, but a copy takes along
}
"""What may be said of an option beside its help and its default, and what holds where it is not."""

BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "above": (operator.gt, "is not above"),
    "below": (operator.lt, "is not below"),
    "low": (operator.ge, "is below the smallest allowed value,"),
    "high": (operator.le, "is above the largest allowed value,"),
}
"""What holds within a bound, and what is said of a value beyond it."""


def option(text: str, default: Any = None, **said: Any) -> Any:
    """Declare one option: a dataclass field with its help ``text``, its default, and what of ``KNOWN`` is said.

    What else is said is the default by preset: its own, else that of ``original``; under the name of a text stands what
    ``pocket`` gives on it.  ``default`` is then not used.
    """
    presets = {name: value for name, value in said.items() if name not in KNOWN}
    return field(default=None if presets else default, metadata={"help": text, **KNOWN, **said, "presets": presets})


def again(settings: type, name: str, text: str = "", **presets: Any) -> Any:
    """Declare an option of other settings once more, with other values by preset or another help ``text``."""
    declared = settings.__dataclass_fields__[name]  # type: ignore[attr-defined]
    changed = {"presets": presets, "help": text or declared.metadata["help"]}
    return field(default=None if presets else declared.default, metadata={**declared.metadata, **changed})


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
        SettingError: a value is out of its range or not among its choices, or values do not go together.
    """

    def __post_init__(self) -> None:
        for declared in fields(self):
            name, said, value = declared.name, declared.metadata, getattr(self, declared.name)
            if value is None and said["presets"]:
                # an unknown preset is refused in its own turn; one that says nothing here leaves it to the notes' own
                preset, data = vars(self).get("preset"), vars(self).get("data")
                own = data if preset == "pocket" and data in said["presets"] else preset  # a text's own come first
                value = said["presets"].get(own, said["presets"]["original"])
            if isinstance(value, Path) or (said["path"] and value):
                value = type(value)(os.path.expanduser(value))  # noqa: PTH111 - this one never fails
            self.fill(name, value)
            if wrong := _wrong(value, said):
                variable = f" (or {said['variable']})" if said["variable"] else ""
                raise SettingError(f"{flag(name)}{variable}: {wrong}")

    def fill(self, name: str, value: Any) -> None:
        """Set a value while the options are made; afterwards nothing changes them."""
        object.__setattr__(self, name, value)


def _wrong(value: Any, said: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, or nothing."""
    if said["choices"] and value not in said["choices"]:
        return f"{value!r} is not one of {', '.join(said['choices'])}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    for name, (holds, told) in BOUNDS.items():
        if said[name] is not None and not holds(value, said[name]):
            return f"{value} {told} {said[name]:g}"
    return ""


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """What every experiment has.  Subclasses add their own fields; their first line is the help of their command."""

    experiment: ClassVar[str]
    """The name of its command; ``example`` is what is typed."""
    example: ClassVar[str]
    first: ClassVar[tuple[str, ...]] = ()
    """The options that a learner needs, in the order of the help, before the seeds."""

    seed: int = option("First random seed.", 0, low=0, high=2**48)
    seeds: int = option("How many seeds; the tables then show intervals.", 1, low=1, high=100_000)

    @property
    def every_seed(self) -> range:
        """All seeds."""
        return range(self.seed, self.seed + self.seeds)

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, in the order they are declared; of a path only its last name."""
        shown = [declared.name for declared in fields(self) if declared.metadata["recorded"]]
        values = asdict(self)
        return {name: f"path: {Path(values[name]).name}" if self._is_path(name) else values[name] for name in shown}

    def _is_path(self, name: str) -> bool:
        said, value = self.__dataclass_fields__[name].metadata, getattr(self, name)
        return bool(said["path"] and value) and value not in said["words"]

    def spelled(self, name: str) -> str:
        """Return an option's value as the published command gives it; a word in capitals is the reader's to fill in."""
        return "PATH" if self._is_path(name) else str(getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """What every experiment's command offers beside its settings: where results go, not what they are."""

    full: bool = option("Print all tables and pictures instead of the first screen.", False)
    json: bool = option("Print one JSON document instead of tables.", False)
    log: bool = option("Append an entry to the experiment log.", True)
    log_dir: Path | None = option(
        "Folder of the log's site, with its entries in docs/log/posts (default: the checkout, or ./llmlab-log)."
    )
    expect: str = option("What you expect, kept in the entry beside the outcome.", "")
    note: str = option("A first note for the entry, shown as plain text; edit its Notes for Markdown.", "")
    lang: str = option("Language of tables and sentences.", "en", choices=("en", "ja"), variable=LANGUAGE_VARIABLE)
    quiet: bool = option("Print nothing but the entry's path.", False)
    threads: int = option(
        "Threads for torch; 0 is one, or all where a model is large and a trial finds them faster.",
        0,
        low=0,
        high=1_024,
    )
    debug: bool = option("Show the traceback of a failure.", False)


def listed(name: str, words: str, read: Callable[[str], T | None], wanted: str) -> list[T]:
    """Return the values that words with commas between them name; ``read`` has nothing for one that is ``wanted``.

    Raises:
        SettingError: a word is no value, or one is listed twice.
    """
    found: dict[str, T] = {}
    for word in (each.strip() for each in words.split(",")):
        if (value := read(word)) is None:
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
