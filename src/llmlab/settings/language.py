"""The options of chapters 3 and 4, models that read windows of words (documents 001 and 003 of the original notes).

A preset gives all of them a value at once, and every option that is given overrides it.  ``story`` stands beside the
presets: what ``pocket`` gives on that text.
"""

import contextlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from llmlab.errors import SettingError
from llmlab.settings.declare import WATCH, Settings, again, option, whole_numbers

CORPORA = ("synthetic", "dialect", "story", "wikitext-2", "ultrachat", "dailydialog")
"""The texts that have a name; anything else is a path."""

PRESETS = ("pocket", "original", "advanced", "modern")
"""What each is for stands in the help of ``preset``; all but the first want data, and hours."""
DEEPEST = 64
MAX_PARAMETERS = 200_000_000
"""A larger model would not train on a machine that this study is made for (with Adam, 16 bytes per parameter)."""


@dataclass(frozen=True, kw_only=True)
class LanguageSettings(Settings):
    """What the chapters on New-LLM share."""

    preset: str = option(
        "Text, sizes and training together: pocket (offline, minutes), original (the notes' conditions), advanced "
        "(their larger model), modern (a better recipe at the original number of parameters).",
        "pocket",
        choices=PRESETS,
    )
    data: str = option(
        f"The text: {', '.join(CORPORA)}, or a path: a text file, a folder with train.txt and valid.txt, or a "
        ".jsonl of chats.",
        words=CORPORA,
        path=True,
        pocket="synthetic",
        original="wikitext-2",
    )
    offline: bool = option("Never use the network.", False, recorded=False)
    seeds: int = option("How many seeds; the tables then show intervals.", 1, low=1, high=100)
    vocabulary: int = option(
        "Words with a number, four marks among them.", low=5, high=50_000, original=1000, story=1_500
    )
    length: int = option("Tokens of a window.", low=3, high=4_096, pocket=32, original=64, story=64)
    embedding: int = option("Numbers per token embedding.", low=1, high=8_192, pocket=32, original=256)
    hidden: int = option("Width of the hidden layers.", low=1, high=8_192, pocket=64, original=512)
    context: int = option("Numbers of the context vector.", low=1, high=8_192, pocket=32, original=256, advanced=512)
    stack: str = option(
        "Hidden layers that replace (plain) or add, with LayerNorm (residual).",
        choices=("plain", "residual"),
        original="plain",
        modern="residual",
    )
    init: str = option(
        "Initial weights: original (all N(0, 0.02²)) or scaled (by layer width, forget gates open).",
        choices=("original", "scaled"),
        pocket="scaled",
        original="original",
        modern="scaled",
    )
    dropout: float = option(
        "Share of hidden numbers dropped in training.",
        low=0.0,
        below=1.0,
        pocket=0.0,
        original=0.1,
        modern=0.0,
        story=0.4,
    )
    epochs: int = option("Passes over the training windows.", low=1, high=100_000, pocket=8, original=50, modern=3)
    batch: int = option("Windows per update.", low=1, high=65_536, pocket=32, original=32, advanced=512, modern=64)
    lr: float = option(
        "Learning rate, of a schedule the peak.", above=0, high=1e3, pocket=3e-3, original=1e-4, modern=2e-3
    )
    schedule: str = option(
        "How the learning rate goes: constant, or one-cycle (up, then down in half a cosine).",
        choices=("constant", "one-cycle"),
        pocket="one-cycle",
        original="constant",
        modern="one-cycle",
    )
    optimizer: str = option(
        "The rule of the update.", choices=("adam", "sgd", "adamw"), original="adam", modern="adamw", story="adamw"
    )
    weight_decay: float = option(
        "Decay per unit of learning rate, for AdamW.", low=0.0, high=1e3, original=0.0, modern=0.01, story=0.3
    )
    clip: str = option(
        "Longest gradient: a number, none, or adaptive (0.5, from epoch 11 on 1, from epoch 31 on 2).",
        words=("none", "adaptive"),
        pocket="1.0",
        original="adaptive",
        modern="1.0",
    )
    patience: int = option(
        "Epochs without a better validation loss after which training stops.",
        low=1,
        high=100_000,
        pocket=10,
        original=15,
    )
    precision: str = option(
        "Of the products in training; auto is bf16 for wide models where the machine is fast at it.",
        "auto",
        choices=("auto", "fp32", "bf16"),
    )
    device: str = option("Where to train.", "auto", choices=("auto", "cpu", "cuda"))
    out: Path | None = option("Folder for this run's checkpoints (default: a new one in ./runs).", recorded=False)
    resume: str = option(
        "Go on: auto (the last run like this one), or the folder of a run or a checkpoint.",
        "",
        path=True,
        recorded=False,
    )
    save_minutes: float = option(
        "Minutes between checkpoints within an epoch.", 10.0, above=0, high=1e6, recorded=False
    )

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
    """Train New-LLM, a recurrent context-vector language model."""

    experiment = "baseline"
    example = "llmlab baseline --preset pocket --layers 1"
    first = ("preset", "data", "model", "layers", "peers", "watch")

    embedding: int = again(LanguageSettings, "embedding", pocket=64, original=256)
    hidden: int = again(LanguageSettings, "hidden", pocket=128, original=512, modern=640)
    context: int = again(LanguageSettings, "context", pocket=64, original=256, advanced=512, modern=480)
    dropout: float = again(LanguageSettings, "dropout", pocket=0.0, original=0.1, story=0.4)
    epochs: int = again(LanguageSettings, "epochs", pocket=10, original=50, modern=18, story=24)
    weight_decay: float = again(LanguageSettings, "weight_decay", original=0.0, modern=0.4, story=0.3)
    model: str = option("Which model; the peers are sized like it.", "new-llm", choices=("new-llm", "tiny-gpt2", "gru"))
    peers: bool = option("Train all three models on the same batches, and compare them.", False)
    layers: int = option(
        "Hidden layers of New-LLM's stack; given with --model tiny-gpt2 or gru, that model's own.",
        low=1,
        high=64,
        pocket=2,
        original=6,
        advanced=12,
        modern=2,
        story=1,
    )

    watch: bool = option(WATCH, False, recorded=False)
    layers_given: bool = option(
        "Whether the depth is the caller's and not the preset's: a peer is then not sized like New-LLM.",
        typed=False,
        recorded=False,
    )

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
    """Depth sweep: how deep must the stack be?"""

    experiment = "layers"
    example = "llmlab layers --layers 1,2 --seeds 3"
    first = ("preset", "data", "layers", "remedy")

    epochs: int = again(
        LanguageSettings,
        "epochs",
        "Passes over the training windows, the same for every depth.",
        pocket=4,
        original=150,
        modern=3,
    )
    batch: int = again(LanguageSettings, "batch", pocket=32, original=2048, modern=64)
    lr: float = again(LanguageSettings, "lr", pocket=3e-3, original=8e-4, advanced=4e-4, modern=2e-3)
    patience: int = again(LanguageSettings, "patience", pocket=100, original=30)
    seeds: int = again(
        LanguageSettings, "seeds", "How many seeds per depth; the tables then show intervals.", pocket=3, original=1
    )
    resume: str = again(
        LanguageSettings, "resume", "Go on: auto (the last sweep like this one), or the folder given to --out before."
    )
    layers: str = option("Depths, with commas between them.", pocket="1,2,4,6", original="1,2,3,4,5,6,7")
    only: str = option("Of these depths, train only some: the rest runs on another machine.", "")
    remedy: bool = option(
        "Beside the deepest plain stack also train a residual one of the same size.", pocket=True, original=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        swept = depths_in("--layers", self.layers)
        self.fill("layers", ",".join(map(str, swept)))
        for depth in self.depths:
            if depth not in swept:
                raise SettingError(f"--only: {depth} is not among --layers {self.layers}")

    @property
    def depths(self) -> list[int]:
        """The depths to train, shallowest first."""
        return depths_in("--only", self.only) if self.only else depths_in("--layers", self.layers)

    @property
    def stacks(self) -> list[str]:
        """The kinds of stack to train: the one asked for, and beside a plain one its remedy."""
        return ["plain", "residual"] if self.remedy and self.stack == "plain" else [self.stack]

    def of_one(self, depth: int, stack: str, **places: Any) -> BaselineSettings:
        """Return the settings of one model of the sweep, as chapter 3 would train it; ``places`` are its own."""
        shared = {declared.name: getattr(self, declared.name) for declared in fields(LanguageSettings)}
        return BaselineSettings(**shared | {"layers": depth, "stack": stack, "seeds": 1} | places)


def depths_in(name: str, words: str) -> list[int]:
    """Return the depths that a list names, shallowest first."""
    wanted = f"no depth; give whole numbers from 1 to {DEEPEST}, for example 1,2,4"
    return whole_numbers(name, words, 1, DEEPEST, wanted)


def check_resumed_in_place(out: Path | None, resume: str) -> None:
    """Refuse two places for the checkpoints of one run: it goes on in the folder that it was in."""
    if out is None or resume in ("", "auto"):
        return
    there, place = Path(resume).absolute(), out.absolute()
    if place not in (there, there.parent):
        raise SettingError(f"--out: a run goes on in the folder it is in, and --resume says {resume}; drop --out")


def _clip(clip: str) -> str:
    """Return how a clip is written, one way for each number: 1 is 1.0."""
    if clip in ("adaptive", "none"):
        return clip
    with contextlib.suppress(ValueError):
        if 0 < float(clip) < float("inf"):
            return str(float(clip))
    raise SettingError(f"--clip: {clip!r} is not a number above 0, nor none, nor adaptive")
