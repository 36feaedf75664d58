"""How an option is declared: one dataclass field with its help, range and choices, checked on construction.

Covers what every experiment has, and the options that say where results go.  Leaves out the experiments' own
options: ``tiny``, ``language``, ``depths``, ``trained`` and ``adapted``.
"""

import math
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from llmlab.errors import SettingError

LANGUAGE_VARIABLE = "LLMLAB_LANG"


def option(
    default: Any,
    text: str,
    *,
    panel: str = "Model",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    presets: dict[str, Any] | None = None,
    recorded: bool = True,
    argument: bool = False,
    from_stdin: bool = False,
    variable: str = "",
) -> Any:
    """Declare one option: a dataclass field with its help ``text``, panel, and range or choices.

    ``low`` and ``high`` are allowed values themselves, ``above`` and ``below`` are not.

    Args:
        default: the value where nothing is given.
        text: what stands in the help.
        panel: the heading that the option stands under there.
        low: smallest value.
        high: largest value.
        above: a value that is too small.
        below: a value that is too large.
        choices: the only values.
        presets: the default by preset, for settings that have one: its own, else that of ``seed``.  ``default`` is
            then not used.
        recorded: false for what says where files are, which no log entry shows.
        argument: true for a word of its own on the command line, without a flag.
        from_stdin: true if ``-`` means standard input.
        variable: of the environment, which gives the default.
    """
    metadata = {
        "help": text,
        "panel": panel,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": choices,
        "presets": presets or {},
        "recorded": recorded,
        "argument": argument,
        "from_stdin": from_stdin,
        "variable": variable,
    }
    return field(default=None if presets else default, metadata=metadata)


def again(settings: type, name: str, text: str = "", **presets: Any) -> Any:
    """Declare an option of other settings once more, with other values by preset.

    Args:
        settings: the class that declares it.
        name: of the option.
        text: for the help, if it has to say something else here.
        presets: the default by preset; without any, the default stays.
    """
    (declared,) = (found for found in fields(settings) if found.name == name)
    changed = {"presets": presets, "help": text or declared.metadata["help"]}
    return field(default=None if presets else declared.default, metadata={**declared.metadata, **changed})


def flag(name: str) -> str:
    """Return a field's command-line spelling: ``weight_decay`` is ``--weight-decay``."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every experiment has.  Subclasses add their own fields; all are checked on construction.

    Raises:
        SettingError: a value is out of its range or not among its choices.
    """

    experiment: ClassVar[str]
    one_thread: ClassVar[str] = ""
    """The preset whose products are too small to be shared among threads, if there is one."""

    seed: int = option(0, "First random seed.", panel="Seeds", low=0, high=2**48)
    seeds: int = option(1, "How many seeds; the tables then show intervals.", panel="Seeds", low=1, high=100_000)

    def __post_init__(self) -> None:
        for declared in fields(self):
            by_preset = declared.metadata["presets"]
            if by_preset and getattr(self, declared.name) is None:
                # an unknown preset is refused in its own turn; one that says nothing here leaves it to the seed's
                chosen = by_preset.get(vars(self).get("preset"), by_preset["seed"])
                object.__setattr__(self, declared.name, chosen)
            _check(declared, getattr(self, declared.name))

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, in the order they are declared."""
        hidden = {declared.name for declared in fields(self) if not declared.metadata["recorded"]}
        return {name: value for name, value in asdict(self).items() if name not in hidden}

    @property
    def threads(self) -> int:
        """How many threads this run is worth; 0 leaves it to torch."""
        return 1 if self.one_thread and vars(self).get("preset") == self.one_thread else 0

    def spelled(self, name: str) -> str:
        """Return an option's value as the published command gives it; a word in capitals is the reader's to fill in."""
        return str(getattr(self, name))


def _check(declared: Field[Any], value: Any) -> None:
    low, high, above, below, choices = (declared.metadata[key] for key in ("low", "high", "above", "below", "choices"))
    name, variable = flag(declared.name), declared.metadata["variable"]
    name += f" (or {variable})" if variable else ""
    if choices and value not in choices:
        raise SettingError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{name}: {value} is not a finite number")
    if above is not None and value <= above:
        raise SettingError(f"{name}: {value} is not above {above:g}")
    if below is not None and value >= below:
        raise SettingError(f"{name}: {value} is not below {below:g}")
    if low is not None and value < low:
        raise SettingError(f"{name}: {value} is below the smallest allowed value, {low:g}")
    if high is not None and value > high:
        raise SettingError(f"{name}: {value} is above the largest allowed value, {high:g}")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every experiment's command offers beside its settings: where results go, not what they are."""

    json: bool = option(False, "Print one JSON document instead of tables.", panel="Output")
    log: bool = option(True, "Append an entry to the experiment log.", panel="Output")
    log_dir: Path | None = option(  # noqa: RUF009 - option() is field() with words
        None,
        "Folder of the log's site, with its entries in docs/log/posts (default: the checkout, or ./llmlab-log).",
        panel="Output",
    )
    expect: str = option("", "What you expect, kept in the entry beside the outcome.", panel="Output")
    note: str = option(
        "", "A first note for the entry, shown as plain text; edit its Notes for Markdown.", panel="Output"
    )
    lang: str = option(
        "en", "Language of tables and sentences.", panel="Output", choices=("en", "ja"), variable=LANGUAGE_VARIABLE
    )
    quiet: bool = option(False, "Print nothing but the entry's path.", panel="Output")
    threads: int = option(
        0,
        "Threads for torch; 0 leaves it to torch, except that a chapter's pocket preset takes one.",
        panel="Output",
        low=0,
        high=1_024,
    )
    debug: bool = option(False, "Show the traceback of a failure.", panel="Output")

    def __post_init__(self) -> None:
        for declared in fields(self):
            _check(declared, getattr(self, declared.name))
