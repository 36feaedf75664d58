"""The options of what trains a trained model further: ``llmlab baseline expand|finetune CHECKPOINT``.

Leaves out the sizes and the words of the model; they stand in its checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import again, option
from llmlab.settings.language import CORPORA, LanguageSettings
from llmlab.settings.trained import JudgedSettings

ARMS = ("continue", "B", "A", "random", "preserving", "scratch")
"""What ``expand`` compares, in the order of its tables."""


@dataclass(frozen=True, kw_only=True)
class AdaptedSettings(JudgedSettings):
    """What both commands have.

    Raises:
        SettingError: a value is out of its range.
    """

    most_seeds: ClassVar[int] = 100

    preset: str = option(
        "pocket",
        "The training together: pocket (minutes on a small machine), seed (what the seed document planned).",
        panel="Preset",
        choices=("pocket", "seed"),
    )
    precision: str = option(
        "fp32", "Of the products in training; judging is always fp32.", panel="Machine", choices=("fp32", "bf16")
    )


@dataclass(frozen=True, kw_only=True)
class ExpandSettings(AdaptedSettings):
    """Options of ``baseline expand``."""

    experiment: ClassVar[str] = "expand"

    context: int = option(0, "Numbers of the context afterwards; 0 is twice as many.", low=0, high=8_192)
    arms: str = option(
        ",".join(ARMS),
        f"What to train, with commas between: of {', '.join(ARMS)}.",
    )
    updates: int = option(
        None, "Updates of every arm.", panel="Training", low=1, high=10**7, presets={"pocket": 300, "seed": 3_750}
    )
    rounds: int = option(
        None,
        "Parts of equal length of the updates, each judged at its end; the next lower number that divides them.",
        panel="Training",
        low=1,
        high=1_000,
        presets={"pocket": 6, "seed": 15},
    )
    batch: int = again(LanguageSettings, "batch", pocket=32, seed=2_048)
    lr: float = again(LanguageSettings, "lr", pocket=1e-3, seed=8e-4)
    schedule: str = again(LanguageSettings, "schedule", pocket="one-cycle", seed="constant")

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = self.arms.split(",")
        unknown = [name for name in asked if name not in ARMS]
        if unknown or len(set(asked)) < len(asked):
            why = f"{unknown[0]!r} is not one of {', '.join(ARMS)}" if unknown else "one stands there twice"
            raise SettingError(f"--arms: {why}")

    @property
    def round_updates(self) -> int:
        """How many updates lie between two validations."""
        parts = next(count for count in range(min(self.rounds, self.updates), 0, -1) if self.updates % count == 0)
        return self.updates // parts


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(AdaptedSettings):
    """Options of ``baseline finetune``."""

    experiment: ClassVar[str] = "finetune"

    data: str = option(
        None,
        f"The text to train further on: {', '.join(CORPORA)}, or a path: a text file, a folder with train.txt and "
        "valid.txt, or a .jsonl of chats.",
        panel="Text",
        presets={"pocket": "dialect", "seed": "dailydialog"},
    )
    original: str = option(
        "",
        "Where the text is that the model was trained on, if that was a file of yours: what is forgotten of it.",
        panel="Text",
        recorded=False,
    )
    epochs: int = again(LanguageSettings, "epochs", "Passes over the text, of every arm.", pocket=6, seed=50)
    batch: int = again(LanguageSettings, "batch", pocket=16, seed=16)
    lr: float = again(LanguageSettings, "lr", "Learning rate.", pocket=3e-3, seed=5e-5)
    patience: int = again(LanguageSettings, "patience", pocket=10, seed=10)
    out: Path | None = option(  # noqa: RUF009 - option() is field() with words
        None, "Keep the fine-tuned model's checkpoints in this folder.", panel="Checkpoints", recorded=False
    )
