"""The text that ships with llmlab: Alice's Adventures in Wonderland (Lewis Carroll, 1865), as lines of words.

A line is a sentence, and each sign in it a word of its own: ``thought Alice , “ and what is the use of a book``.
Ten chapters are to train on, the eleventh to validate with, the twelfth to test on.  Where the file comes from stands
in ``story.licence.txt`` beside it.
"""

import re
from importlib.resources import files

STORY = "story"
SPLITS = {"train": slice(0, 10), "valid": slice(10, 11), "test": slice(11, 12)}

WORD = re.compile(r"'?\w+(?:['-]\w+)*|--|[^\w\s]")
SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][”’)]))\s+(?=[“‘(]*[A-Z])")


def story_lines(split: str) -> list[str]:
    """Return the sentences of a split's chapters, words and signs with blanks between them."""
    text = (files("llmlab") / "text" / "story.txt").read_text("utf-8")
    chapters = re.split(r"^= .+ =\n", text, flags=re.MULTILINE)[1:][SPLITS[split]]
    paragraphs = [line for chapter in chapters for line in chapter.splitlines()]
    return [spaced(sentence) for paragraph in paragraphs for sentence in SENTENCE.split(paragraph)]


def spaced(text: str) -> str:
    """Return a text with blanks around its signs, as the story's lines have them.

    Example:
        >>> spaced("“Oh dear!” said Alice--for she couldn't.")
        "“ Oh dear ! ” said Alice -- for she couldn't ."
    """
    return " ".join(WORD.findall(text))


def closed(text: str) -> str:
    """Return words with blanks between them as people write them: undoes ``spaced``.

    Example:
        >>> closed("“ oh dear ! ” said alice -- for she couldn't .")
        "“oh dear!” said alice--for she couldn't."
    """
    return re.sub(r"(?<=[“‘(]) | (?=[.,;:!?”’)])|(?<=--) | (?=--)", "", text)
