"""The options of chapters 3 and 4, models that read windows of words (documents 001 and 003 of the original notes).

A preset gives all of them a value at once, and every option that is given overrides it.  ``story`` stands beside the
presets: what ``pocket`` gives on that text.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import OPTION, Settings, named, whole_numbers

CORPORA = named("LanguageSettings", "data")
"""The texts that have a name; anything else is a path."""

PRESETS = named("LanguageSettings", "preset")
"""What each is for stands in the help of ``preset``; all but the first want data, and hours."""

DEEPEST = 64
MAX_PARAMETERS = 200_000_000
"""A larger model would not train on a machine that this study is made for (with Adam, 16 bytes per parameter)."""


@dataclass(frozen=True, kw_only=True)
class LanguageSettings(Settings):
    """What the chapters on New-LLM share.

    Raises:
        SettingError: a value is out of its range, or values do not go together.
    """

    places: ClassVar[dict[str, tuple[str, ...]]] = {"data": CORPORA}

    preset: str = OPTION
    data: str = OPTION
    offline: bool = OPTION
    vocabulary: int = OPTION
    length: int = OPTION
    embedding: int = OPTION
    hidden: int = OPTION
    context: int = OPTION
    stack: str = OPTION
    init: str = OPTION
    dropout: float = OPTION
    epochs: int = OPTION
    batch: int = OPTION
    lr: float = OPTION
    schedule: str = OPTION
    optimizer: str = OPTION
    weight_decay: float = OPTION
    clip: str = OPTION
    patience: int = OPTION
    precision: str = OPTION
    device: str = OPTION
    out: Path | None = OPTION
    resume: str = OPTION
    save_minutes: float = OPTION

    def __post_init__(self) -> None:
        asked = self.weight_decay
        super().__post_init__()
        self.fill("clip", _clip(self.clip))
        if self.optimizer != "adamw":  # no other rule decays weights; the preset's decay then says nothing
            if asked:
                raise SettingError(f"--weight-decay: {asked:g}, but {self.optimizer} has none; add --optimizer adamw")
            self.fill("weight_decay", 0.0)
        check_resumed_in_place(self.out, self.resume)

    def check_size(self, layers: int) -> None:
        """Refuse a model that would not train on a machine that this study is made for."""
        read = self.vocabulary * (self.embedding + self.hidden) + self.hidden * (self.embedding + self.context)
        numbers = read + (layers - 1) * self.hidden**2 + 3 * self.hidden * self.context
        if numbers > MAX_PARAMETERS:
            raise SettingError(
                f"--hidden, --layers: a model of {numbers:.2g} parameters; at most {MAX_PARAMETERS:.2g}, so lower one"
            )


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(LanguageSettings):
    """Options of chapter 3."""

    experiment: ClassVar[str] = "baseline"
    first: ClassVar[tuple[str, ...]] = ("preset", "data", "model", "layers", "peers", "watch")

    model: str = OPTION
    peers: bool = OPTION
    layers: int = OPTION

    watch: bool = OPTION
    layers_given: bool = OPTION

    def __post_init__(self) -> None:
        if self.layers_given is None:
            self.fill("layers_given", self.layers is not None)
        super().__post_init__()
        self.check_size(self.layers)

    @property
    def has_peers(self) -> bool:
        """Whether another model than New-LLM is to be trained."""
        return self.peers or self.model != "new-llm"


@dataclass(frozen=True, kw_only=True)
class LayersSettings(LanguageSettings):
    """Options of chapter 4."""

    experiment: ClassVar[str] = "layers"
    first: ClassVar[tuple[str, ...]] = ("preset", "data", "layers", "remedy")

    layers: str = OPTION
    only: str = OPTION
    remedy: bool = OPTION

    def __post_init__(self) -> None:
        super().__post_init__()
        swept = depths_in("--layers", self.layers)
        unknown = [depth for depth in self.depths if depth not in swept]
        if unknown:
            raise SettingError(f"--only: {unknown[0]} is not among --layers {self.layers}")

    @property
    def depths(self) -> list[int]:
        """The depths to train, shallowest first."""
        return depths_in("--only", self.only) if self.only else depths_in("--layers", self.layers)

    @property
    def stacks(self) -> list[str]:
        """The kinds of stack to train: the one asked for, and beside a plain one its remedy."""
        return ["plain", "residual"] if self.remedy and self.stack == "plain" else [self.stack]

    def of_one(self, depth: int, stack: str, **places: Any) -> BaselineSettings:
        """Return the settings of one model of the sweep, as chapter 3 would train it.

        Args:
            depth: its hidden layers.
            stack: ``plain`` or ``residual``.
            places: ``out`` and ``resume``, where they differ from the sweep's.
        """
        shared = {declared.name: getattr(self, declared.name) for declared in fields(LanguageSettings)}
        return BaselineSettings(**shared | {"layers": depth, "stack": stack, "seeds": 1} | places)


def depths_in(name: str, words: str) -> list[int]:
    """Return the depths that a list names, shallowest first."""
    return whole_numbers(
        name, words, 1, DEEPEST, f"no depth; give whole numbers from 1 to {DEEPEST}, for example 1,2,4"
    )


def check_resumed_in_place(out: Path | None, resume: str) -> None:
    """Refuse two places for the checkpoints of one run: it goes on in the folder that it was in."""
    if out is None or resume in ("", "auto"):
        return
    there, place = Path(resume).absolute(), out.absolute()
    if place not in (there, there.parent):
        raise SettingError(f"--out: a run goes on in the folder it is in, and --resume says {resume}; drop --out")


def _clip(clip: str) -> str:
    """Return how a clip is written, one way for each number: 1 is 1.0.

    Raises:
        SettingError: it is no number above 0 and no word that stands for one.
    """
    if clip in ("adaptive", "none"):
        return clip
    try:
        longest = float(clip)
    except ValueError:
        longest = 0.0
    if not 0 < longest < float("inf"):
        raise SettingError(f"--clip: {clip!r} is not a number above 0, nor none, nor adaptive")
    return str(longest)
