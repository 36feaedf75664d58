"""The options of chapters 3 and 4, on language models that read windows of words (seed documents 001 and 003).

A preset gives all of them a value at once, and every option that is given overrides it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmlab.errors import SettingError
from llmlab.settings.declare import Settings, again, option

CORPORA = ("synthetic", "dialect", "wikitext-2", "ultrachat", "dailydialog")
"""The texts that have a name; anything else is a path."""

MAX_PARAMETERS = 200_000_000
"""A larger model would not train on a machine that this study is made for (with Adam, 16 bytes per parameter)."""


@dataclass(frozen=True, kw_only=True)
class LanguageSettings(Settings):
    """What the chapters on New-LLM share.

    Raises:
        SettingError: a value is out of its range, or values do not go together.
    """

    one_thread: ClassVar[str] = "pocket"

    preset: str = option(
        "pocket",
        "Text, sizes and training together: pocket (offline, minutes), seed (the seed document's conditions), advanced "
        "(its larger model), modern (a better recipe at the seed's number of parameters).",
        panel="Preset",
        choices=("pocket", "seed", "advanced", "modern"),
    )
    data: str = option(
        None,
        f"The text: {', '.join(CORPORA)}, or a path: a text file, a folder with train.txt and valid.txt, or a "
        ".jsonl of chats.",
        panel="Text",
        presets={"pocket": "synthetic", "seed": "wikitext-2"},
    )
    offline: bool = option(False, "Never use the network.", panel="Text", recorded=False)
    seeds: int = option(1, "How many seeds; the tables then show intervals.", panel="Seeds", low=1, high=100)
    vocabulary: int = option(
        None, "Words with a number, four marks among them.", panel="Text", low=5, high=50_000, presets={"seed": 1000}
    )
    length: int = option(
        None, "Tokens of a window.", panel="Text", low=3, high=4_096, presets={"pocket": 32, "seed": 64}
    )
    embedding: int = option(
        None, "Numbers per token embedding.", low=1, high=8_192, presets={"pocket": 32, "seed": 256}
    )
    hidden: int = option(None, "Width of the hidden layers.", low=1, high=8_192, presets={"pocket": 64, "seed": 512})
    context: int = option(
        None, "Numbers of the context vector.", low=1, high=8_192, presets={"pocket": 32, "seed": 256, "advanced": 512}
    )
    stack: str = option(
        None,
        "Hidden layers that replace (plain) or add, with LayerNorm (residual).",
        choices=("plain", "residual"),
        presets={"seed": "plain", "modern": "residual"},
    )
    start: str = option(
        None,
        "Initial weights: seed (all N(0, 0.02²)) or scaled (by layer width, forget gates open).",
        choices=("seed", "scaled"),
        presets={"pocket": "scaled", "seed": "seed", "modern": "scaled"},
    )
    dropout: float = option(
        None,
        "Share of hidden numbers dropped in training.",
        low=0.0,
        below=1.0,
        presets={"pocket": 0.0, "seed": 0.1, "modern": 0.0},
    )
    epochs: int = option(
        None,
        "Passes over the training windows.",
        panel="Training",
        low=1,
        high=100_000,
        presets={"pocket": 8, "seed": 50, "modern": 3},
    )
    batch: int = option(
        None,
        "Windows per update.",
        panel="Training",
        low=1,
        high=65_536,
        presets={"pocket": 32, "seed": 32, "advanced": 512, "modern": 64},
    )
    lr: float = option(
        None,
        "Learning rate, of a schedule the peak.",
        panel="Training",
        above=0,
        high=1e3,
        presets={"pocket": 3e-3, "seed": 1e-4, "modern": 2e-3},
    )
    schedule: str = option(
        None,
        "How the learning rate goes: constant, or one-cycle (up, then down in half a cosine).",
        panel="Training",
        choices=("constant", "one-cycle"),
        presets={"pocket": "one-cycle", "seed": "constant", "modern": "one-cycle"},
    )
    optimizer: str = option(
        None,
        "The rule of the update.",
        panel="Training",
        choices=("adam", "sgd", "adamw"),
        presets={"seed": "adam", "modern": "adamw"},
    )
    weight_decay: float = option(
        None,
        "Decay per unit of learning rate, for AdamW.",
        panel="Training",
        low=0.0,
        high=1e3,
        presets={"seed": 0.0, "modern": 0.01},
    )
    clip: str = option(
        None,
        "Longest gradient: a number, none, or seed (0.5, from epoch 11 on 1, from epoch 31 on 2).",
        panel="Training",
        presets={"pocket": "1.0", "seed": "seed", "modern": "1.0"},
    )
    patience: int = option(
        None,
        "Epochs without a better validation loss after which training stops.",
        panel="Training",
        low=1,
        high=100_000,
        presets={"pocket": 10, "seed": 15},
    )
    precision: str = option(
        "auto",
        "Of the products in training; auto is bf16 for wide models where the machine is fast at it.",
        panel="Machine",
        choices=("auto", "fp32", "bf16"),
    )
    device: str = option("auto", "Where to train.", panel="Machine", choices=("auto", "cpu", "cuda"))
    out: Path | None = option(  # noqa: RUF009 - option() is field() with words
        None, "Folder for this run's checkpoints (default: a new one in ./runs).", panel="Checkpoints", recorded=False
    )
    resume: str = option(
        "", "Go on from a checkpoint: auto (the last run like this one) or a path.", panel="Checkpoints", recorded=False
    )
    save_minutes: float = option(
        10.0, "Minutes between checkpoints within an epoch.", panel="Checkpoints", above=0, high=1e6, recorded=False
    )

    def __post_init__(self) -> None:
        asked = self.weight_decay
        super().__post_init__()
        object.__setattr__(self, "clip", _clip(self.clip))
        if self.optimizer != "adamw":  # no other rule decays weights; the preset's decay then says nothing
            if asked:
                raise SettingError(f"--weight-decay: {asked:g}, but {self.optimizer} has none; add --optimizer adamw")
            object.__setattr__(self, "weight_decay", 0.0)
        check_resumed_in_place(self.out, self.resume)

    def check_size(self, layers: int) -> None:
        """Refuse a model that would not train on a machine that this study is made for."""
        read = self.vocabulary * (self.embedding + self.hidden) + self.hidden * (self.embedding + self.context)
        numbers = read + (layers - 1) * self.hidden**2 + 3 * self.hidden * self.context
        if numbers > MAX_PARAMETERS:
            raise SettingError(
                f"--hidden, --layers: a model of {numbers:.2g} parameters; at most {MAX_PARAMETERS:.2g}, so lower one"
            )

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; of a path only its last name."""
        return super().document() | {"data": self.data_name}

    @property
    def data_name(self) -> str:
        """What the text is called where others read it."""
        return self.data if self.data in CORPORA else f"path: {Path(self.data).name}"

    def spelled(self, name: str) -> str:
        """Return an option's value as the published command gives it: a path is the reader's own."""
        return "PATH" if name == "data" and self.data not in CORPORA else super().spelled(name)


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(LanguageSettings):
    """Options of chapter 3."""

    experiment: ClassVar[str] = "baseline"

    embedding: int = again(LanguageSettings, "embedding", pocket=64, seed=256)
    hidden: int = again(LanguageSettings, "hidden", pocket=128, seed=512, modern=640)
    context: int = again(LanguageSettings, "context", pocket=64, seed=256, advanced=512, modern=480)
    dropout: float = again(LanguageSettings, "dropout", pocket=0.0, seed=0.1)
    epochs: int = again(LanguageSettings, "epochs", pocket=10, seed=50, modern=18)
    weight_decay: float = again(LanguageSettings, "weight_decay", seed=0.0, modern=0.4)
    model: str = option("new-llm", "Which model; the peers are sized like it.", choices=("new-llm", "tiny-gpt2", "gru"))
    peers: bool = option(False, "Train all three models on the same batches, and compare them.", panel="Model")
    layers: int = option(
        None,
        "Hidden layers of New-LLM's stack; given with --model tiny-gpt2 or gru, that model's own.",
        low=1,
        high=64,
        presets={"pocket": 2, "seed": 6, "advanced": 12, "modern": 2},
    )

    layers_given: ClassVar[bool] = False
    """Whether the depth is the caller's and not the preset's: a peer is then not sized like New-LLM."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers_given", self.layers is not None)
        super().__post_init__()
        self.check_size(self.layers)


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
    if clip in ("seed", "none"):
        return clip
    try:
        longest = float(clip)
    except ValueError:
        longest = 0.0
    if not 0 < longest < float("inf"):
        raise SettingError(f"--clip: {clip!r} is not a number above 0, nor none, nor seed")
    return str(longest)
