"""The options of chapters 5 and 6: a context block, its fixed contexts, and the token block on top of them.

The ``original`` preset is document 004 of the original notes with the code at its date.
"""

from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import SettingError
from llmlab.settings.declare import Settings, again, among, listed, option, whole_numbers
from llmlab.settings.language import LanguageSettings, check_resumed_in_place, depths_in

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
    """What chapters 5 and 6 share."""

    vectors = "pretrained"

    preset: str = option(
        "Text, sizes and training together: pocket (offline, minutes), original (document 004 of the original notes).",
        "pocket",
        choices=("pocket", "original"),
    )
    data: str = again(LanguageSettings, "data", pocket="synthetic", original="ultrachat")
    pretrained: str = option(
        "The pretrained embedding: made (in the run, from more of the synthetic language), gpt2, or a model folder.",
        words=(MADE, "gpt2"),
        path=True,
        pocket=MADE,
        original="gpt2",
    )
    offline: bool = again(LanguageSettings, "offline")
    tokens: int = option("Tokens to train on.", low=FEWEST_TOKENS, high=MOST_TOKENS, pocket=90_000, original=251_208)
    val_tokens: int = option("Tokens of the held-out documents.", low=16, high=10**8, pocket=8_000, original=25_121)
    width: int = option(
        "Numbers per token embedding, where it is made or random; a pretrained one has its own.",
        low=1,
        high=8_192,
        pocket=128,
        original=768,
    )
    context: int = again(LanguageSettings, "context", pocket=64, original=768)
    layers: int = option(
        "Layers of the context block, and as many of the token block.", low=1, high=64, pocket=1, original=6
    )
    inputs: int = option("How many last tokens both blocks read at once.", 1, low=1, high=64)
    wiring: str = option("Which layers of the context block read the token.", "every", choices=("every", "first"))
    widths: str = option(
        "Widths of the context block's layers: constant, or decreasing from context plus token to context.",
        "constant",
        choices=("constant", "decreasing"),
    )
    reading: str = option(
        "The contexts that predict: after (with the last token in them, layer by layer), final (the last layer's for "
        "all layers), before (without the last token, for all layers), none (zeros: what is it worth at all?).",
        "after",
        choices=READINGS,
    )
    block: str = option(
        "The context block: trained to a fixed point, or untrained.", "trained", choices=("trained", "untrained")
    )
    iterations: int = option("Most passes of the context block's training.", 10, low=1, high=10_000)
    block_lr: float = option("Learning rate of the context block.", 2e-3, above=0, high=1e3)
    noise: float = option(
        "Standard deviation of the noise on contexts while the block is trained.", 0.1, low=0, high=1e3
    )
    diversity: float = option("Weight of the diversity loss beside the fixed-point loss.", 0.5, low=0, high=1)
    tolerance: float = option("Largest error of contexts that are computed side by side.", 1e-4, above=0, high=1)
    epochs: int = again(LanguageSettings, "epochs", "Most passes over the tokens.", pocket=6, original=10)
    batch: int = again(LanguageSettings, "batch", "Tokens per update.", pocket=256, original=512)
    lr: float = again(LanguageSettings, "lr", "Learning rate.", pocket=4e-3, original=2e-3)
    embedding_lr: float = option(
        "Learning rate of the embedding, where it is trained, as a share of --lr.", 1.0, above=0
    )
    tune: bool = option(
        "Choose each arm's rates first, on a tail of the training text: --lr, and where the embedding is trained its "
        "own, too.",
        False,
    )
    patience: int = again(LanguageSettings, "patience", pocket=2, original=2)
    precision: str = again(LanguageSettings, "precision")
    device: str = again(LanguageSettings, "device")
    out: Path | None = again(
        LanguageSettings, "out", "Folder for the checkpoints of all runs (default: a new one in ./runs)."
    )
    resume: str = again(LanguageSettings, "resume", "Go on where a run like this one stopped: auto, or its folder.")
    save_minutes: float = again(LanguageSettings, "save_minutes")
    seeds: int = again(
        LanguageSettings, "seeds", "How many seeds of every arm; the tables then show intervals.", pocket=3, original=1
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


@dataclass(frozen=True, kw_only=True)
class EmbeddingFreezeSettings(ContextSettings):
    """Pretrained embeddings: frozen against trained, on the same text."""

    experiment = "embedding-freeze"
    example = "llmlab embedding-freeze --arms frozen,trained --grow none"
    first = ("preset", "data", "pretrained", "arms", "grow")

    tune: bool = again(ContextSettings, "tune", pocket=True, original=False)
    arms: str = option(
        f"What to train, with commas between: of {', '.join(FREEZE_ARMS)}.",
        words=FREEZE_ARMS,
        pocket="frozen,trained",
        original="frozen,trained",
    )
    grow: str = option(
        "Other numbers of tokens to compare frozen and trained at, with commas between; or none.",
        pocket="4000,16000",
        original="502498",
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
        wanted = f"no number of tokens from {FEWEST_TOKENS} to {MOST_TOKENS:,}"
        return [] if self.grow == "none" else whole_numbers("--grow", self.grow, FEWEST_TOKENS, MOST_TOKENS, wanted)


@dataclass(frozen=True, kw_only=True)
class TwoStageSettings(ContextSettings):
    """Fixed contexts first, then the token block on top of them."""

    experiment = "two-stage"
    example = "llmlab two-stage --ablate noise --seeds 3"
    first = ("preset", "data", "pretrained", "ablate", "layers")

    width: int = again(ContextSettings, "width", pocket=192, original=768)
    context: int = again(ContextSettings, "context", pocket=96, original=768)
    epochs: int = again(ContextSettings, "epochs", pocket=10, original=10)
    lr: float = again(ContextSettings, "lr", pocket=3e-3, original=2e-3)
    vectors: str = option(
        "The embedding: the pretrained one, or (of its tokenizer only) random of --width.",
        "pretrained",
        choices=("pretrained", "random"),
    )
    ablate: str = option(
        f"What to change, each in a table of its own, with commas between: of {', '.join(ABLATIONS)}; or all, or none.",
        words=(*ABLATIONS, "all", "none"),
        pocket="block,reading",
        original="none",
    )
    noises: str = option("The noises of the ablation, with commas between.", "0,0.05,0.1,0.2")
    depths: str = option("The layers of the ablation, with commas between.", "1,2,3,6")

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
        return sorted(listed("--noises", self.noises, _noise, "no number from 0 to 1,000"))

    @property
    def swept_depths(self) -> list[int]:
        """The layers of their ablation, fewest first."""
        return depths_in("--depths", self.depths)


def _noise(word: str) -> float | None:
    try:
        noise = float(word) + 0.0  # which makes -0 a 0
    except ValueError:
        return None
    return noise if 0 <= noise <= 1_000 else None
