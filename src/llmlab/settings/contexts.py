"""The options of chapters 5 and 6: a context block, its fixed contexts, and the token block on top of them.

The ``seed`` preset is seed document 004 with the code at its date.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import Settings, again, option
from llmlab.settings.depths import depths_in
from llmlab.settings.language import CORPORA, LanguageSettings, check_resumed_in_place

FREEZE_ARMS = ("frozen", "trained", "frozen-untied", "trained-untied", "random-frozen", "random-trained")
"""What ``embedding-freeze`` compares: the embedding trained or not, the head tied to it or not, and from chance."""

READINGS = ("after", "final", "before", "none")
"""Which contexts the token block reads: layer-matched, the last layer's, that of the token before, or zeros."""

ABLATIONS = ("block", "noise", "layers", "wiring", "reading")
"""What ``two-stage`` can change, each in a table of its own."""

FEWEST_TOKENS, MOST_TOKENS = 64, 10**9

MADE = "made"
"""The pretrained embedding that is made in the run, from much more of the synthetic language."""


@dataclass(frozen=True, kw_only=True)
class ContextSettings(Settings):
    """What chapters 5 and 6 share.

    Raises:
        SettingError: a value is out of its range, or values do not go together.
    """

    one_thread: ClassVar[str] = "pocket"

    preset: str = option(
        "pocket",
        "Text, sizes and training together: pocket (offline, minutes), seed (seed document 004's conditions).",
        panel="Preset",
        choices=("pocket", "seed"),
    )
    data: str = again(LanguageSettings, "data", pocket="synthetic", seed="ultrachat")
    pretrained: str = option(
        None,
        "The pretrained embedding: made (in the run, from more of the synthetic language), gpt2, or a model folder.",
        panel="Text",
        presets={"pocket": MADE, "seed": "gpt2"},
    )
    offline: bool = again(LanguageSettings, "offline")
    tokens: int = option(
        None,
        "Tokens to train on.",
        panel="Text",
        low=FEWEST_TOKENS,
        high=MOST_TOKENS,
        presets={"pocket": 90_000, "seed": 251_208},
    )
    val_tokens: int = option(
        None,
        "Tokens of the held-out documents.",
        panel="Text",
        low=16,
        high=10**8,
        presets={"pocket": 8_000, "seed": 25_121},
    )
    width: int = option(
        None,
        "Numbers per token embedding, where it is made or random; a pretrained one has its own.",
        low=1,
        high=8_192,
        presets={"pocket": 128, "seed": 768},
    )
    context: int = again(LanguageSettings, "context", pocket=64, seed=768)
    layers: int = option(
        None,
        "Layers of the context block, and as many of the token block.",
        low=1,
        high=64,
        presets={"pocket": 1, "seed": 6},
    )
    inputs: int = option(1, "How many last tokens both blocks read at once.", low=1, high=64)
    wiring: str = option("every", "Which layers of the context block read the token.", choices=("every", "first"))
    widths: str = option(
        "constant",
        "Widths of the context block's layers: constant, or decreasing from context plus token to context.",
        choices=("constant", "decreasing"),
    )
    reading: str = option(
        "after",
        "The contexts that predict: after (with the last token in them, layer by layer), final (the last layer's for "
        "all layers), before (without the last token, for all layers), none (zeros: what is it worth at all?).",
        choices=READINGS,
    )
    block: str = option(
        "trained",
        "The context block: trained to a fixed point, or untrained.",
        panel="Stage 1",
        choices=("trained", "untrained"),
    )
    iterations: int = option(10, "Most passes of the context block's training.", panel="Stage 1", low=1, high=10_000)
    block_lr: float = option(2e-3, "Learning rate of the context block.", panel="Stage 1", above=0, high=1e3)
    noise: float = option(
        0.1, "Standard deviation of the noise on contexts while the block is trained.", panel="Stage 1", low=0, high=1e3
    )
    diversity: float = option(
        0.5, "Weight of the diversity loss beside the fixed-point loss.", panel="Stage 1", low=0, high=1
    )
    tolerance: float = option(
        1e-4, "Largest error of contexts that are computed side by side.", panel="Stage 1", above=0, high=1
    )
    epochs: int = again(LanguageSettings, "epochs", "Most passes over the tokens.", pocket=6, seed=10)
    batch: int = again(LanguageSettings, "batch", "Tokens per update.", pocket=256, seed=512)
    lr: float = again(LanguageSettings, "lr", "Learning rate.", pocket=4e-3, seed=2e-3)
    embedding_lr: float = option(
        1.0, "Learning rate of the embedding, where it is trained, as a share of --lr.", panel="Training", above=0
    )
    tune: bool = option(
        False,
        "Choose each arm's rate first, on a tail of the training text: the embedding's if it is trained, else --lr.",
        panel="Training",
    )
    patience: int = again(LanguageSettings, "patience", pocket=2, seed=2)
    precision: str = again(LanguageSettings, "precision")
    device: str = again(LanguageSettings, "device")
    out: Path | None = again(  # noqa: RUF009 - again() is field() with words
        LanguageSettings, "out", "Folder for the checkpoints of all runs (default: a new one in ./runs)."
    )
    resume: str = again(LanguageSettings, "resume", "Go on where a run like this one stopped: auto, or its folder.")
    save_minutes: float = again(LanguageSettings, "save_minutes")
    seeds: int = again(
        LanguageSettings, "seeds", "How many seeds of every arm; the tables then show intervals.", pocket=3, seed=1
    )

    def __post_init__(self) -> None:
        asked = self.data
        super().__post_init__()
        if self.pretrained == MADE and self.data != "synthetic":
            raise SettingError(
                f"--pretrained: {MADE} knows the words of --data synthetic only; name a model folder, or gpt2"
            )
        if not self.pretrained:
            raise SettingError("--pretrained: empty; give made, gpt2, or a model folder")
        if self.pretrained != MADE and self.data == "synthetic" and not asked:
            raise SettingError(
                "--pretrained: such an embedding is of real text, and the preset reads the made-up language; add --data"
            )
        check_resumed_in_place(self.out, self.resume)

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; of a path only its last name."""
        return super().document() | {"data": self.data_name, "pretrained": self.pretrained_name}

    @property
    def data_name(self) -> str:
        """What the text is called where others read it."""
        return self.data if self.data in CORPORA else f"path: {Path(self.data).name}"

    @property
    def pretrained_name(self) -> str:
        """What the embedding is called where others read it."""
        return self.pretrained if self.pretrained in (MADE, "gpt2") else f"path: {Path(self.pretrained).name}"

    def spelled(self, name: str) -> str:
        """Return an option's value as the published command gives it: a path is the reader's own."""
        paths = {"data": self.data not in CORPORA, "pretrained": self.pretrained not in (MADE, "gpt2")}
        return "PATH" if paths.get(name) else super().spelled(name)


@dataclass(frozen=True, kw_only=True)
class EmbeddingFreezeSettings(ContextSettings):
    """Options of chapter 5."""

    experiment: ClassVar[str] = "embedding-freeze"

    tune: bool = again(ContextSettings, "tune", pocket=True, seed=False)
    arms: str = option(
        None,
        f"What to train, with commas between: of {', '.join(FREEZE_ARMS)}.",
        presets={"pocket": "frozen,trained", "seed": "frozen,trained"},
    )
    grow: str = option(
        None,
        "Other numbers of tokens to compare frozen and trained at, with commas between; or none.",
        panel="Text",
        presets={"pocket": "4000,16000", "seed": "502498"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizes and not {"frozen", "trained"} <= set(self.arm_names):
            raise SettingError(
                "--grow: compares frozen with trained, and --arms leaves one out; add it, or --grow none"
            )

    @property
    def arm_names(self) -> list[str]:
        """The arms to train, in their own order."""
        return among("--arms", self.arms, FREEZE_ARMS)

    @property
    def sizes(self) -> list[int]:
        """The other numbers of tokens, smallest first."""
        return numbers_in("--grow", self.grow)


@dataclass(frozen=True, kw_only=True)
class TwoStageSettings(ContextSettings):
    """Options of chapter 6."""

    experiment: ClassVar[str] = "two-stage"

    width: int = again(ContextSettings, "width", pocket=192, seed=768)
    context: int = again(ContextSettings, "context", pocket=96, seed=768)
    epochs: int = again(ContextSettings, "epochs", pocket=10, seed=10)
    lr: float = again(ContextSettings, "lr", pocket=3e-3, seed=2e-3)
    vectors: str = option(
        "pretrained",
        "The embedding: the pretrained one, or (of its tokenizer only) random of --width.",
        panel="Text",
        choices=("pretrained", "random"),
    )
    ablate: str = option(
        None,
        f"What to change, each in a table of its own, with commas between: of {', '.join(ABLATIONS)}; or all, or none.",
        presets={"pocket": "block,reading", "seed": "none"},
    )
    noises: str = option("0,0.05,0.1,0.2", "The noises of the ablation, with commas between.", panel="Stage 1")
    depths: str = option("1,2,3,6", "The layers of the ablation, with commas between.", panel="Model")

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.ablations, self.swept_noises, self.swept_depths  # refused here, not in the middle of a run

    @property
    def ablations(self) -> list[str]:
        """What is changed, in the order of the tables."""
        words = {"all": ",".join(ABLATIONS), "none": ""}.get(self.ablate, self.ablate)
        return among("--ablate", words, ABLATIONS) if words else []

    @property
    def swept_noises(self) -> list[float]:
        """The noises of their ablation, smallest first."""
        return noises_in("--noises", self.noises)

    @property
    def swept_depths(self) -> list[int]:
        """The layers of their ablation, fewest first."""
        return depths_in("--depths", self.depths)


def among(name: str, words: str, allowed: tuple[str, ...]) -> list[str]:
    """Return the words that a list names, in the order of what is allowed.

    Raises:
        SettingError: one of them is not allowed, or stands there twice.
    """
    found = [word.strip() for word in words.split(",")]
    for word in found:
        if word not in allowed:
            raise SettingError(f"{name}: {word[:40]!r} is not one of {', '.join(allowed)}")
        if found.count(word) > 1:
            raise SettingError(f"{name}: {word} stands there twice")
    return [word for word in allowed if word in found]


def noises_in(name: str, words: str) -> list[float]:
    """Return the standard deviations that a list names, smallest first.

    Raises:
        SettingError: one of them is no number from 0 to 1,000, or stands there twice.
    """
    found: list[float] = []
    for word in words.split(","):
        try:
            noise = float(word) + 0.0  # which makes -0 a 0
        except ValueError:
            noise = -1.0
        if not 0 <= noise <= 1_000:
            raise SettingError(f"{name}: {word.strip()[:20]!r} is no number from 0 to 1,000")
        if f"{noise:g}" in [f"{other:g}" for other in found]:  # as they are told apart in tables and folders
            raise SettingError(f"{name}: {noise:g} stands there twice")
        found.append(noise)
    return sorted(found)


def numbers_in(name: str, words: str) -> list[int]:
    """Return the token counts that a list names, smallest first; ``none`` names none.

    Raises:
        SettingError: one of them is no whole number that the option for tokens would take, or stands there twice.
    """
    if words == "none":
        return []
    found: list[int] = []
    for word in words.split(","):
        number = int(word) if word.strip().isdecimal() and len(word.strip()) < 11 else 0
        if not FEWEST_TOKENS <= number <= MOST_TOKENS:
            raise SettingError(
                f"{name}: {word.strip()[:20]!r} is no number of tokens from {FEWEST_TOKENS} to {MOST_TOKENS:,}"
            )
        if number in found:
            raise SettingError(f"{name}: {number} stands there twice")
        found.append(number)
    return sorted(found)
