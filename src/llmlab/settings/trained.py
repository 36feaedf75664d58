"""The options of what is done with a trained model: ``llmlab baseline evaluate|generate|quantize CHECKPOINT``.

Leaves out how the model was trained; that stands in its checkpoint.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import Settings, option
from llmlab.settings.language import CORPORA

LONGEST_PROMPT = 1_000
"""Characters; the prompt stands in the log entry as it is."""


@dataclass(frozen=True, kw_only=True)
class TrainedSettings(Settings):
    """What every command on a checkpoint has.

    Raises:
        SettingError: a value is out of its range, or several seeds are asked for where nothing is drawn.
    """

    most_seeds: ClassVar[int] = 1

    checkpoint: Path = option(  # noqa: RUF009 - option() is field() with words
        dataclasses.MISSING,
        "A checkpoint that llmlab baseline wrote, or the folder of a run (then its best one).",
        argument=True,
        recorded=False,
    )
    seeds: int = option(1, "How many seeds; the tables then show intervals.", panel="Seeds", low=1, high=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds > self.most_seeds:
            why = "nothing is drawn by chance here" if self.most_seeds == 1 else "each seed is a run of its own"
            raise SettingError(f"--seeds: {self.seeds}, but {why}; at most {self.most_seeds}")


@dataclass(frozen=True, kw_only=True)
class JudgedSettings(TrainedSettings):
    """What the commands have that judge a model on a text."""

    data: str = option(
        "",
        f"The text to judge on (default: the one that the model was trained on): {', '.join(CORPORA)}, or a path.",
        panel="Text",
    )
    offline: bool = option(False, "Never use the network.", panel="Text", recorded=False)
    batch: int = option(32, "Windows per batch of the batch mean.", panel="Text", low=1, high=65_536)

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; of a path only its last name."""
        return super().document() | {"data": f"path: {Path(self.data).name}" if self._is_path else self.data}

    def spelled(self, name: str) -> str:
        """Return an option's value as the published command gives it: a path is the reader's own."""
        return "PATH" if name == "data" and self._is_path else super().spelled(name)

    @property
    def _is_path(self) -> bool:
        return self.data not in ("", *CORPORA)


@dataclass(frozen=True, kw_only=True)
class ExactSettings(JudgedSettings):
    """What the commands have in which nothing is drawn by chance; seeds are there because every command has them."""

    seed: int = option(0, "Changes nothing: nothing is drawn by chance here.", panel="Seeds", low=0, high=2**48)
    seeds: int = option(1, "Only 1: nothing is drawn by chance here.", panel="Seeds", low=1, high=100_000)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ExactSettings):
    """Options of ``baseline evaluate``."""

    experiment: ClassVar[str] = "evaluate"


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(TrainedSettings):
    """Options of ``baseline generate``."""

    experiment: ClassVar[str] = "generate"
    most_seeds: ClassVar[int] = 100

    prompt: str = option("", "How the text begins (default: nothing, so the model begins a line).", panel="Text")
    tokens: int = option(20, "Most tokens to generate.", panel="Text", low=1, high=100_000)
    stop: bool = option(True, "Stop at <eos>, the end of a line.", panel="Text")
    temperature: float = option(
        1.0, "By which scores are divided before the draw; 0 takes the likeliest.", panel="Draw", low=0.0, high=1e3
    )
    top_k: int = option(0, "Draw among this many of the likeliest tokens; 0 for all.", panel="Draw", low=0, high=50_000)

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

    scheme: str = option(
        "row", "Weights that share a scale: those of a row, or a whole tensor.", choices=("row", "tensor")
    )
    embedding: bool = option(False, "Quantise the embedding too, not only the linear layers.")
    save: Path | None = option(  # noqa: RUF009 - option() is field() with words
        None, "Write the int8 model to this new file.", panel="Output", recorded=False
    )
