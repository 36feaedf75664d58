"""The options of what is done with a trained model: ``llmlab baseline evaluate|generate|… CHECKPOINT``.

Leaves out how the model was trained, its sizes and its words; that stands in its checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import OPTION, Settings, among, named
from llmlab.settings.language import CORPORA

ARMS = named("ExpandSettings", "arms")
"""What ``expand`` compares, in the order of its tables."""

LONGEST_PROMPT = 1_000
"""Characters; the prompt stands in the log entry as it is."""


@dataclass(frozen=True, kw_only=True)
class TrainedSettings(Settings):
    """What every command on a checkpoint has.

    Raises:
        SettingError: a value is out of its range, or several seeds are asked for where nothing is drawn.
    """

    most_seeds: ClassVar[int] = 1

    checkpoint: Path = OPTION

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds > self.most_seeds:
            why = "nothing is drawn by chance here" if self.most_seeds == 1 else "each seed is a run of its own"
            raise SettingError(f"--seeds: {self.seeds}, but {why}; at most {self.most_seeds}")


@dataclass(frozen=True, kw_only=True)
class JudgedSettings(TrainedSettings):
    """What the commands have that judge a model on a text."""

    places: ClassVar[dict[str, tuple[str, ...]]] = {"data": ("", *CORPORA)}

    data: str = OPTION
    offline: bool = OPTION
    batch: int = OPTION


@dataclass(frozen=True, kw_only=True)
class ExactSettings(JudgedSettings):
    """What the commands have in which nothing is drawn by chance; seeds are there because every command has them."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ExactSettings):
    """Options of ``baseline evaluate``."""

    experiment: ClassVar[str] = "evaluate"
    first: ClassVar[tuple[str, ...]] = ("data",)


@dataclass(frozen=True, kw_only=True)
class ExportSettings(ExactSettings):
    """Options of ``baseline export``."""

    experiment: ClassVar[str] = "export"
    first: ClassVar[tuple[str, ...]] = ("data",)

    folder: Path = OPTION


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(TrainedSettings):
    """Options of ``baseline generate``."""

    experiment: ClassVar[str] = "generate"
    first: ClassVar[tuple[str, ...]] = ("prompt", "tokens", "temperature")
    most_seeds: ClassVar[int] = 100

    prompt: str = OPTION
    tokens: int = OPTION
    stop: bool = OPTION
    temperature: float = OPTION
    top_k: int = OPTION

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.prompt) > LONGEST_PROMPT:
            raise SettingError(f"--prompt: {len(self.prompt):,} characters; at most {LONGEST_PROMPT:,}")
        if any("\ud800" <= character <= "\udfff" for character in self.prompt):
            raise SettingError("--prompt: not valid Unicode (a lone surrogate); give it as UTF-8")
        if self.seeds * self.tokens > 100_000:
            raise SettingError("--seeds x --tokens: at most 100,000 tokens in all; lower one of the two")


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings(ExactSettings):
    """Options of ``baseline quantize``."""

    experiment: ClassVar[str] = "quantize"
    first: ClassVar[tuple[str, ...]] = ("scheme", "embedding")

    scheme: str = OPTION
    embedding: bool = OPTION
    save: Path | None = OPTION


@dataclass(frozen=True, kw_only=True)
class AdaptedSettings(JudgedSettings):
    """What both commands have.

    Raises:
        SettingError: a value is out of its range.
    """

    most_seeds: ClassVar[int] = 100

    preset: str = OPTION
    precision: str = OPTION


@dataclass(frozen=True, kw_only=True)
class ExpandSettings(AdaptedSettings):
    """Options of ``baseline expand``."""

    experiment: ClassVar[str] = "expand"
    first: ClassVar[tuple[str, ...]] = ("preset", "data", "arms", "context")

    context: int = OPTION
    arms: str = OPTION
    updates: int = OPTION
    rounds: int = OPTION
    lr: float = OPTION
    schedule: str = OPTION

    def __post_init__(self) -> None:
        super().__post_init__()
        among("--arms", self.arms, ARMS)

    @property
    def round_updates(self) -> int:
        """How many updates lie between two validations."""
        parts = next(count for count in range(min(self.rounds, self.updates), 0, -1) if self.updates % count == 0)
        return self.updates // parts


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(AdaptedSettings):
    """Options of ``baseline finetune``."""

    experiment: ClassVar[str] = "finetune"
    first: ClassVar[tuple[str, ...]] = ("preset", "data", "original")

    original: str = OPTION
    epochs: int = OPTION
    lr: float = OPTION
    patience: int = OPTION
    out: Path | None = OPTION
