"""The options of chapters 5 and 6: a context block, its fixed contexts, and the token block on top of them.

The ``original`` preset is document 004 of the original notes with the code at its date.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import DECLARED, OPTION, Settings, among, listed, named, whole_numbers
from llmlab.settings.language import CORPORA, check_resumed_in_place, depths_in

FREEZE_ARMS = named("EmbeddingFreezeSettings", "arms")
"""What ``embedding-freeze`` compares: the embedding trained or not, the head tied to it or not, and from chance."""

READINGS = named("ContextSettings", "reading")
"""Which contexts the token block reads: layer-matched, the last layer's, that of the token before, or zeros."""

ABLATIONS = named("TwoStageSettings", "ablate")[:-2]
"""What ``two-stage`` can change, each in a table of its own; behind them stand all and none."""

FEWEST_TOKENS, MOST_TOKENS = (DECLARED["ContextSettings"]["tokens"][bound] for bound in ("low", "high"))

MADE = "made"
"""The pretrained embedding that is made in the run, from much more of the synthetic language."""


@dataclass(frozen=True, kw_only=True)
class ContextSettings(Settings):
    """What chapters 5 and 6 share.

    Raises:
        SettingError: a value is out of its range, or values do not go together.
    """

    places: ClassVar[dict[str, tuple[str, ...]]] = {"data": CORPORA, "pretrained": (MADE, "gpt2")}

    preset: str = OPTION
    data: str = OPTION
    pretrained: str = OPTION
    offline: bool = OPTION
    tokens: int = OPTION
    val_tokens: int = OPTION
    width: int = OPTION
    context: int = OPTION
    layers: int = OPTION
    inputs: int = OPTION
    wiring: str = OPTION
    widths: str = OPTION
    reading: str = OPTION
    block: str = OPTION
    iterations: int = OPTION
    block_lr: float = OPTION
    noise: float = OPTION
    diversity: float = OPTION
    tolerance: float = OPTION
    epochs: int = OPTION
    batch: int = OPTION
    lr: float = OPTION
    embedding_lr: float = OPTION
    tune: bool = OPTION
    patience: int = OPTION
    precision: str = OPTION
    device: str = OPTION
    out: Path | None = OPTION
    resume: str = OPTION
    save_minutes: float = OPTION

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
    """Options of chapter 5."""

    experiment: ClassVar[str] = "embedding-freeze"
    first: ClassVar[tuple[str, ...]] = ("preset", "data", "pretrained", "arms", "grow")

    arms: str = OPTION
    grow: str = OPTION

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
    """Options of chapter 6."""

    experiment: ClassVar[str] = "two-stage"
    first: ClassVar[tuple[str, ...]] = ("preset", "data", "pretrained", "ablate", "layers")

    vectors: str = OPTION
    ablate: str = OPTION
    noises: str = OPTION
    depths: str = OPTION

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
