"""Every option of every experiment, declared once.

Covers name, type, default, range, choices and help text.  The command-line option, the "Conditions" row of
the log entry and the key in the JSON document are all made from the fields below.

Leaves out parsing (``cli`` does it) and anything that needs torch: a wrong option is refused before the
slow import.
"""

import hashlib
import math
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from llmlab.errors import SettingError, TextError

MAX_CHARACTERS = 2_048
"""Most different characters a text may have: the score table of one model is that number squared."""

LONGEST_TEXT_KEPT = 1_000
"""A longer text is not copied into every log entry, only named by its SHA-256."""

MAX_NUMBERS = 2**26
"""Most numbers in one stacked tensor (268 MB in float32): training holds about six such, which fits 4 GB."""


def option(
    default: Any,
    text: str,
    *,
    panel: str = "Model",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one option: a dataclass field with its help ``text``, panel, and range or choices.

    ``low`` and ``high`` are allowed values themselves, ``above`` is not.
    """
    metadata = {"help": text, "panel": panel, "low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata=metadata)


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

    seed: int = option(0, "First random seed.", panel="Seeds", low=0, high=2**48)
    seeds: int = option(
        1, "How many seeds, trained side by side; the tables then show intervals.", panel="Seeds", low=1, high=100_000
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            _check(declared, getattr(self, declared.name))

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, in the order they are declared."""
        return asdict(self)


def _check(declared: Field[Any], value: Any) -> None:
    low, high, above, choices = (declared.metadata[key] for key in ("low", "high", "above", "choices"))
    name = flag(declared.name)
    if choices and value not in choices:
        raise SettingError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{name}: {value} is not a finite number")
    if above is not None and value <= above:
        raise SettingError(f"{name}: {value} is not above {above:g}")
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
        None, "Folder of the log (default: the checkout's docs/log, or ./llmlab-log).", panel="Output"
    )
    expect: str = option("", "What you expect, kept in the entry beside the outcome.", panel="Output")
    note: str = option(
        "", "A first note for the entry, shown as plain text; edit its Notes for Markdown.", panel="Output"
    )
    quiet: bool = option(False, "Print nothing but the entry's path.", panel="Output")
    threads: int = option(0, "Threads for torch; 0 leaves it to torch.", panel="Output", low=0, high=1_024)
    debug: bool = option(False, "Show the traceback of a failure.", panel="Output")

    def __post_init__(self) -> None:
        for declared in fields(self):
            _check(declared, getattr(self, declared.name))


@dataclass(frozen=True, kw_only=True)
class TinySettings(Settings):
    """What the two chapters on the tiny model share (seed document 000).

    Raises:
        TextError: the text offers nothing to predict, or is no valid Unicode.
        SettingError: the focus is not a character that the text goes on from.
    """

    text: str = option("hello", "The text to learn, every character a token; - reads standard input.", panel="Text")
    focus: str = option("", "The token to look at closely (default: the first).", panel="Text")
    dim: int = option(2, "Numbers per embedding vector.", low=1, high=4_096)
    epochs: int = option(200, "Full-batch updates.", panel="Training", low=1, high=1_000_000)
    lr: float = option(0.01, "Learning rate (Adam likes 0.01, SGD about 0.5).", panel="Training", above=0, high=1e37)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_text(self.text)
        object.__setattr__(self, "focus", self.focus or self.text[0])
        _check_focus(self.focus, self.text)
        _check_size(self)

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; a long text as its beginning, length and SHA-256."""
        document = super().document()
        if len(self.text) > LONGEST_TEXT_KEPT:
            digest = hashlib.sha256(self.text.encode()).hexdigest()
            document["text"] = f"{self.text[:200]} … ({len(self.text):,} characters, SHA-256 {digest})"
        return document


def _check_text(text: str) -> None:
    kinds = len(set(text))
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise TextError("--text: not valid Unicode (a lone surrogate); give it as UTF-8")
    if kinds < 2:
        raise TextError(
            f"--text: {len(text)} character(s), {kinds} of them different, offer nothing to predict; "
            "give at least two different characters"
        )
    if kinds > MAX_CHARACTERS:
        raise TextError(f"--text: {kinds} different characters; at most {MAX_CHARACTERS} fit the score table")


def _check_focus(focus: str, text: str) -> None:
    if len(focus) != 1:
        raise SettingError(f"--focus: {focus[:20]!r} is not a single character")
    if focus not in text:
        raise SettingError(f"--focus: {focus!r} is not in the text")
    if focus not in text[:-1]:
        raise SettingError(f"--focus: {focus!r} only ends the text, nothing follows it; choose another character")


def _check_size(settings: TinySettings) -> None:
    coordinates = settings.seeds * len(set(settings.text)) * settings.dim
    if coordinates > MAX_NUMBERS:
        raise SettingError(
            f"--seeds x --dim x characters: {coordinates:.2g} coordinates do not fit a small machine; "
            f"at most {MAX_NUMBERS:.2g}, so lower --seeds or --dim"
        )
    if settings.seeds * settings.epochs > MAX_NUMBERS:
        raise SettingError(f"--seeds x --epochs: at most {MAX_NUMBERS:.2g} losses are kept; lower one of the two")


@dataclass(frozen=True, kw_only=True)
class Phase1Settings(TinySettings):
    """Options of chapter 1."""

    experiment: ClassVar[str] = "phase1"

    dim: int = option(8, "Numbers per embedding vector.", low=1, high=4_096)


@dataclass(frozen=True, kw_only=True)
class Phase12Settings(TinySettings):
    """Options of chapter 2 (``phase1-2``)."""

    experiment: ClassVar[str] = "phase1-2"

    freeze: str = option("none", "What stays as it was initialised.", choices=("none", "embedding", "linear"))
    optimizer: str = option("adam", "The rule of the update.", panel="Training", choices=("adam", "sgd", "adamw"))
    weight_decay: float = option(
        0.01, "Decay per unit of learning rate, for AdamW.", panel="Training", low=0.0, high=1e3
    )
