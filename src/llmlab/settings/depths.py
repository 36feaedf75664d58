"""The options of chapter 4, the depth sweep (seed document 003), and how a list of depths is read."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import again, option
from llmlab.settings.language import BaselineSettings, LanguageSettings

DEEPEST = 64


@dataclass(frozen=True, kw_only=True)
class LayersSettings(LanguageSettings):
    """Options of chapter 4."""

    experiment: ClassVar[str] = "layers"

    epochs: int = again(
        LanguageSettings,
        "epochs",
        "Passes over the training windows, the same for every depth.",
        pocket=4,
        seed=150,
        modern=3,
    )
    batch: int = again(LanguageSettings, "batch", pocket=32, seed=2048, modern=64)
    lr: float = again(LanguageSettings, "lr", pocket=3e-3, seed=8e-4, advanced=4e-4, modern=2e-3)
    patience: int = again(LanguageSettings, "patience", pocket=100, seed=30)
    seeds: int = again(
        LanguageSettings, "seeds", "How many seeds per depth; the tables then show intervals.", pocket=3, seed=1
    )
    layers: str = option(
        None, "Depths, with commas between them.", presets={"pocket": "1,2,4,6", "seed": "1,2,3,4,5,6,7"}
    )
    only: str = option("", "Of these depths, train only some: the rest runs on another machine.")
    remedy: bool = option(
        None,
        "Beside the deepest plain stack also train a residual one of the same size.",
        presets={"pocket": True, "seed": False},
    )

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
    """Return the depths that words list, in order.

    Args:
        name: of the option.
        words: for example ``1,2,4``.

    Raises:
        SettingError: it is no list of different whole numbers from 1 to 64.
    """
    found: list[int] = []
    for word in words.split(","):
        depth = int(word) if word.strip().isdecimal() and len(word.strip()) < 9 else 0
        if not 1 <= depth <= DEEPEST:
            raise SettingError(
                f"{name}: {word.strip()[:20]!r} is no depth; give whole numbers from 1 to {DEEPEST}, for example 1,2,4"
            )
        if depth in found:
            raise SettingError(f"{name}: {depth} stands there twice")
        found.append(depth)
    return sorted(found)
