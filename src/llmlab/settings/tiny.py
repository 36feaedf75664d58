"""The options of chapters 1 and 2, on the tiny model (document 000 of the original notes)."""

import hashlib
from dataclasses import dataclass
from typing import Any

from llmlab.errors import SettingError, TextError
from llmlab.settings.declare import WATCH, Settings, option

MAX_CHARACTERS = 2_048
"""Most different characters a text may have: the score table of one model is that number squared."""

LONGEST_TEXT_KEPT = 1_000
"""A longer text is not copied into every log entry, only named by its SHA-256."""

MAX_NUMBERS = 2**26
"""Most numbers in one stacked tensor (268 MB in float32): training holds about six such, which fits 4 GB."""


@dataclass(frozen=True, kw_only=True)
class TinySettings(Settings):
    """What the two chapters on the tiny model share (document 000 of the original notes)."""

    text: str = option("The text to learn, every character a token; - reads standard input.", "hello", from_stdin=True)
    focus: str = option("The token to look at closely (default: the first).", "")
    watch: bool = option(WATCH, False, recorded=False)
    dim: int = option("Numbers per embedding vector.", 2, low=1, high=4_096)
    epochs: int = option("Full-batch updates.", 200, low=1, high=1_000_000)
    lr: float = option("Learning rate (Adam likes 0.01, SGD about 0.5).", 0.01, above=0, high=1e37)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fill("focus", self.focus or self.text[:1])
        self._check_text()
        self._check_size()

    def document(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; a long text as its beginning, length and SHA-256."""
        document = super().document()
        if len(self.text) > LONGEST_TEXT_KEPT:
            digest = hashlib.sha256(self.text.encode()).hexdigest()
            document["text"] = f"{self.text[:200]} … ({len(self.text):,} characters, SHA-256 {digest})"
        return document

    def spelled(self, name: str) -> str:
        """Return an option's value likewise; a text too long for a command line, or with NUL, is standard input."""
        value = super().spelled(name)
        return "-" if name == "text" and (len(value) > LONGEST_TEXT_KEPT or "\0" in value) else value

    def _check_text(self) -> None:
        text, focus, kinds = self.text, self.focus, len(set(self.text))
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TextError("--text: not valid Unicode (a lone surrogate); give it as UTF-8")
        if kinds < 2:
            raise TextError(
                f"--text: {len(text)} character(s), {kinds} of them different, offer nothing to predict; "
                "give at least two different characters"
            )
        if kinds > MAX_CHARACTERS:
            raise TextError(f"--text: {kinds} different characters; at most {MAX_CHARACTERS} fit the score table")
        if len(focus) != 1:
            raise SettingError(f"--focus: {focus[:20]!r} is not a single character")
        if focus not in text:
            raise SettingError(f"--focus: {focus!r} is not in the text")
        if focus not in text[:-1]:
            raise SettingError(f"--focus: {focus!r} only ends the text, nothing follows it; choose another character")

    def _check_size(self) -> None:
        coordinates = self.seeds * len(set(self.text)) * self.dim
        if coordinates > MAX_NUMBERS:
            raise SettingError(
                f"--seeds x --dim x characters: {coordinates:.2g} coordinates do not fit a small machine; "
                f"at most {MAX_NUMBERS:.2g}, so lower --seeds or --dim"
            )
        if self.seeds * self.epochs > MAX_NUMBERS:
            raise SettingError(f"--seeds x --epochs: at most {MAX_NUMBERS:.2g} losses are kept; lower one of the two")


@dataclass(frozen=True, kw_only=True)
class Phase1Settings(TinySettings):
    """Train only the output layer; the embedding is frozen."""

    experiment = "phase1"
    example = "llmlab phase1 --dim 8 --seeds 1000"
    first = ("text", "focus", "dim", "watch")

    dim: int = option("Numbers per embedding vector.", 8, low=1, high=4_096)


@dataclass(frozen=True, kw_only=True)
class Phase12Settings(TinySettings):
    """How embeddings move, and what an inner product decides."""

    experiment = "phase1-2"
    example = "llmlab phase1-2 --text banana --focus n --seeds 1000"
    first = ("text", "focus", "dim", "freeze", "optimizer", "watch")

    freeze: str = option("What stays as it was initialised.", "none", choices=("none", "embedding", "linear"))
    optimizer: str = option("The rule of the update.", "adam", choices=("adam", "sgd", "adamw"))
    weight_decay: float = option("Decay per unit of learning rate, for AdamW.", 0.01, low=0.0, high=1e3)
