"""Does a tokenizer belong to a matrix?  What their files say of each other, and what the rows themselves say.

A tokenizer of another model fits as well as its own as long as its numbers are small enough, and everything trained
on it is nonsense.  Four things give it away: the kind of tokenizer that an architecture has, how many tokens it
knows, where its special tokens stand, and twins: in a trained matrix the rows of a word and of its plural are alike,
and by another model's numbers they are two rows by chance.  What stays hidden is a tokenizer that agrees in most of
its words with the right one.  Leaves out the values as such: ``matrix``.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from llmlab.errors import TextError
from llmlab.text.architecture import BYTES, PIECES, architecture

MARKS = ("pad", "unk", "cls", "sep", "eos")
SPARE_ROWS, SPARE_SHARE = 128, 0.02
"""How many rows a matrix may have more than its tokenizer knows tokens, the larger of the two: machines like round
numbers, and no published model of the architectures known here has more to spare."""

BLANKS = "\u0120\u2581"
"""How byte-level and piece tokenizers write the blank before a word."""

FEWEST_TWINS = 100
STANDARD_ERRORS = 5.0
"""By how many standard errors twins must be more alike than pairs by chance; the models at hand have over a hundred,
and a tokenizer of another model between -2 and 2."""


def mark(value: Any) -> str | None:
    """Return the text of a special token, which settings give as text or as an object."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def token_at(tokenizer: Any, number: object) -> str | None:
    """Return the token with a number, ``None`` if there is none or what a configuration says is no token's number."""
    return tokenizer.id_to_token(number) if isinstance(number, int) and 0 <= number < 2**32 else None


def check_kind(tokenizer: Any, config: dict[str, Any], where: Path) -> None:
    """Check that an architecture has this kind of tokenizer, unless its configuration names one itself.

    Raises:
        TextError: it has another kind.
    """
    _, kinds = architecture(config)
    found = type(tokenizer.model).__name__
    if found == "BPE":
        found = BYTES if tokenizer.token_to_id(BLANKS[0]) is not None else PIECES
    if kinds is not None and found not in kinds and not config.get("tokenizer_class"):
        raise TextError(
            f"{where}: this is {found}, and {config['model_type']} has {' or '.join(sorted(kinds))}; "
            "it belongs to another model"
        )


def check_size(size: int, config: dict[str, Any], where: Path) -> None:
    """Check that a matrix has a row for every token and few more.

    Raises:
        TextError: it has fewer rows, or so many more that the tokenizer must be that of another model.
    """
    rows = config["vocab_size"]
    if size > rows or rows - size > max(SPARE_ROWS, SPARE_SHARE * rows):
        raise TextError(
            f"{where}: it knows {size:,} tokens, and the matrix has {rows:,} rows; it belongs to another model"
        )


def check_marks(tokenizer: Any, settings: dict[str, Any], config: dict[str, Any], where: Path) -> list[str]:
    """Check that the special tokens stand where the configuration says; return notes on those that stand elsewhere.

    Raises:
        TextError: the configuration's number is an ordinary token, or a special token is not in the tokenizer.
    """
    named = {each: mark(settings.get(f"{each}_token")) for each in MARKS}
    for each, name in named.items():
        if name is not None and each != "pad" and tokenizer.token_to_id(name) is None:  # padding may be added later
            raise TextError(f"{where}: it lacks {name}, the {each} token of its settings; one is of another model")
    special = {*tokenizer.get_added_tokens_decoder(), *(tokenizer.token_to_id(name) for name in named.values() if name)}
    notes = []
    for each, name in named.items():
        value = config.get(f"{each}_token_id")
        numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]
        for number in numbers:
            if number >= 0 and number not in special:
                raise TextError(
                    f"{where}: token {number} is {token_at(tokenizer, number)!r}, and config.json says that it is "
                    f"the {each} token; it belongs to another model"
                )
        if name is not None and numbers and tokenizer.token_to_id(name) not in numbers:
            notes.append(f"config.json and the tokenizer's settings name different {each} tokens")
    return notes


def twins(tokenizer: Any) -> Tensor:
    """Return the numbers of tokens that are nearly the same word: (pairs, 2).

    A word and its plural, or the same word at the beginning and amid a word, with a small and a capital letter.
    """
    words: dict[str, list[int]] = {}
    for token, number in sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda each: each[1]):
        word = token.lstrip(BLANKS).removeprefix("##").lower()
        if len(word) >= 3 and word.isalpha():
            words.setdefault(word, []).append(number)
    same = [(numbers[0], numbers[1]) for numbers in words.values() if len(numbers) > 1]
    plurals = [(numbers[0], words[word + "s"][0]) for word, numbers in words.items() if word + "s" in words]
    return torch.tensor(same + plurals).reshape(-1, 2)


def check_twins(tokenizer: Any, matrix: Tensor, where: Path) -> str:
    """Check that twins are more alike than other pairs, by the cosine of their rows; return what was found.

    Each twin is also paired with the next pair's: the same words, in pairs by chance.

    Raises:
        TextError: they are not.
    """
    pairs = twins(tokenizer)
    if len(pairs) < FEWEST_TWINS:
        return f"only {len(pairs)} words have a plural in {where.name}: whether it belongs to the matrix cannot be seen"
    centre = matrix.mean(0)
    first, second = (matrix[column] - centre for column in pairs.T)
    alike, chance = cosine_similarity(first, second), cosine_similarity(first, second.roll(1, 0))
    more = alike - chance
    told = (
        f"cosine {alike.mean():.2f} of {len(pairs):,} words with their plurals, {chance.mean():.2f} of pairs by chance"
    )
    if not more.mean() > STANDARD_ERRORS * more.std() / math.sqrt(len(pairs)):
        raise TextError(f"{where}: {told}; it belongs to another model, or the matrix is not trained")
    return told
