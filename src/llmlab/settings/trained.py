"""The options of what is done with a trained model: ``llmlab baseline evaluate|generate|… CHECKPOINT``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import Settings, again, among, option
from llmlab.settings.language import CORPORA, LanguageSettings

ARMS = ("continue", "B", "A", "random", "preserving", "scratch")
"""What ``expand`` compares, in the order of its tables."""

LONGEST_PROMPT = 1_000
"""Characters; the prompt stands in the log entry as it is."""


@dataclass(frozen=True, kw_only=True)
class TrainedSettings(Settings):
    """What every command on a checkpoint has."""

    most_seeds: ClassVar[int] = 1

    checkpoint: Path = option(
        "The folder of a checkpoint, of a run of llmlab baseline (then its best), or of runs (then of the last one).  "
        "May be left out: then it is the last run under ./runs.",
        Path("runs"),
        argument=True,
        recorded=False,
    )
    seeds: int = option("How many seeds; the tables then show intervals.", 1, low=1, high=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds > self.most_seeds:
            why = "nothing is drawn by chance here" if self.most_seeds == 1 else "each seed is a run of its own"
            raise SettingError(f"--seeds: {self.seeds}, but {why}; at most {self.most_seeds}")


@dataclass(frozen=True, kw_only=True)
class JudgedSettings(TrainedSettings):
    """What the commands have that judge a model on a text."""

    data: str = option(
        f"The text to judge on (default: the one that the model was trained on): {', '.join(CORPORA)}, or a path.",
        "",
        words=CORPORA,
        path=True,
    )
    offline: bool = option("Never use the network.", False, recorded=False)
    batch: int = option("Windows per batch of the batch mean.", 32, low=1, high=65_536)


@dataclass(frozen=True, kw_only=True)
class ExactSettings(JudgedSettings):
    """What the commands have in which nothing is drawn by chance; seeds are there because every command has them."""

    seed: int = option("Changes nothing: nothing is drawn by chance here.", 0, low=0, high=2**48)
    seeds: int = option("Only 1: nothing is drawn by chance here.", 1, low=1, high=100_000)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ExactSettings):
    """Score a trained model, on its own text or another."""

    experiment = "evaluate"
    example = "llmlab baseline evaluate runs/baseline-pocket-…-1"
    first = ("data",)


@dataclass(frozen=True, kw_only=True)
class ExportSettings(ExactSettings):
    """Write a trained model so that it opens without llmlab."""

    experiment = "export"
    example = "llmlab baseline export runs/baseline-pocket-…-1 my-model"
    first = ("data",)

    folder: Path = option(
        "The folder to write, a new one (default: export).", Path("export"), argument=True, recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(TrainedSettings):
    """Let a trained model write."""

    experiment = "generate"
    example = "llmlab baseline generate runs/baseline-pocket-…-1 --tokens 40 --temperature 0.8"
    first = ("prompt", "tokens", "temperature")
    most_seeds: ClassVar[int] = 100

    prompt: str = option(
        "How the text begins (default: nothing, so the model begins a line); - goes on after each line of standard "
        "input.",
        "",
    )
    tokens: int = option("Most tokens to generate.", 20, low=1, high=100_000)
    stop: bool = option("Stop at <eos>, the end of a line.", True)
    temperature: float = option(
        "By which scores are divided before the draw; 0 takes the likeliest.", 1.0, low=0.0, high=1e3
    )
    top_k: int = option("Draw among this many of the likeliest tokens; 0 for all.", 0, low=0, high=50_000)

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
    """Keep a trained model in eight bits, and measure what that costs."""

    experiment = "quantize"
    example = "llmlab baseline quantize runs/baseline-pocket-…-1"
    first = ("scheme", "embedding")

    scheme: str = option(
        "Weights that share a scale: those of a row, or a whole tensor.", "row", choices=("row", "tensor")
    )
    embedding: bool = option("Quantise the embedding too, not only the linear layers.", False)
    save: Path | None = option("Write the int8 model as a checkpoint to this new folder.", recorded=False)


@dataclass(frozen=True, kw_only=True)
class AdaptedSettings(JudgedSettings):
    """What the commands have that train a trained model further."""

    most_seeds: ClassVar[int] = 100

    preset: str = option(
        "The training together: pocket (minutes on a small machine), original (what the original notes planned).",
        "pocket",
        choices=("pocket", "original"),
    )
    precision: str = option("Of the products in training; judging is always fp32.", "fp32", choices=("fp32", "bf16"))


@dataclass(frozen=True, kw_only=True)
class ExpandSettings(AdaptedSettings):
    """Widen the context of a trained model in four ways, and see which can learn."""

    experiment = "expand"
    example = "llmlab baseline expand runs/baseline-pocket-…-1"
    first = ("preset", "data", "arms", "context")

    context: int = option("Numbers of the context afterwards; 0 is twice as many.", 0, low=0, high=8_192)
    arms: str = option(f"What to train, with commas between: of {', '.join(ARMS)}.", ",".join(ARMS), words=ARMS)
    updates: int = option("Updates of every arm.", low=1, high=10**7, pocket=300, original=3_750)
    rounds: int = option(
        "Parts of equal length of the updates, each judged at its end; the next lower number that divides them.",
        low=1,
        high=1_000,
        pocket=6,
        original=15,
    )
    batch: int = again(LanguageSettings, "batch", pocket=32, original=2_048)
    lr: float = again(LanguageSettings, "lr", pocket=1e-3, original=8e-4)
    schedule: str = again(LanguageSettings, "schedule", pocket="one-cycle", original="constant")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fill("arms", ",".join(among("--arms", self.arms, ARMS)))

    @property
    def round_updates(self) -> int:
        """How many updates lie between two validations."""
        parts = next(count for count in range(min(self.rounds, self.updates), 0, -1) if self.updates % count == 0)
        return self.updates // parts


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(AdaptedSettings):
    """Train a trained model on another text, against starting from nothing."""

    experiment = "finetune"
    example = "llmlab baseline finetune runs/baseline-pocket-…-1 --seeds 3"
    first = ("preset", "data", "original")

    data: str = option(
        f"The text to train further on: {', '.join(CORPORA)}, or a path: a text file, a folder with train.txt and "
        "valid.txt, or a .jsonl of chats.",
        words=CORPORA,
        path=True,
        pocket="dialect",
        original="dailydialog",
    )
    original: str = option(
        "Where the text is that the model was trained on, if that was a file of yours: what is forgotten of it.",
        "",
        path=True,
        recorded=False,
    )
    epochs: int = again(LanguageSettings, "epochs", "Passes over the text, of every arm.", pocket=6, original=50)
    batch: int = again(LanguageSettings, "batch", pocket=16, original=16)
    lr: float = again(LanguageSettings, "lr", "Learning rate.", pocket=3e-3, original=5e-5)
    patience: int = again(LanguageSettings, "patience", pocket=10, original=10)
    out: Path | None = option("Keep the fine-tuned model's checkpoints in this folder.", recorded=False)
