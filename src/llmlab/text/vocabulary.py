"""Which tokens a text has, and their numbers.

Tokens are characters, numbered in order of first appearance (for "hello": h=0, e=1, l=2, o=3).
"""

import unicodedata
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Vocabulary:
    """The different tokens of a text, in order of first appearance.

    Example:
        >>> Vocabulary.of("hello").tokens
        ('h', 'e', 'l', 'o')
        >>> Vocabulary.of("hello").encode("hello")
        [0, 1, 2, 2, 3]
    """

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """Return the vocabulary of a text: each character once."""
        return cls(tuple(dict.fromkeys(text)))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each token."""
        return {token: number for number, token in enumerate(self.tokens)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """How each token is called in tables and pictures; see ``visible``."""
        return tuple(visible(token) for token in self.tokens)

    def encode(self, text: str) -> list[int]:
        """Return the token numbers of a text.

        Raises:
            KeyError: a character is not in the vocabulary.
        """
        return [self.numbers[character] for character in text]

    def decode(self, numbers: list[int]) -> str:
        """Return the text of token numbers; undoes ``encode``."""
        return "".join(self.tokens[number] for number in numbers)

    def __len__(self) -> int:
        return len(self.tokens)


def visible(character: str) -> str:
    r"""Return a name for a character that can be seen and told apart in any table.

    Letters, digits, signs and emoji stand for themselves.  A space is ``␣``; whatever else is blank, invisible,
    controls the terminal or combines with its neighbour is written as its code point.

    Example:
        >>> visible("h"), visible(" "), visible("\n"), visible("\u0301")
        ('h', '␣', 'U+000A', 'U+0301')
    """
    if character == " ":
        return "␣"
    if character == "␣" or unicodedata.category(character)[0] in "CZM":
        return f"U+{ord(character):04X}"
    return character
