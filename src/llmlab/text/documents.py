"""A corpus as whole documents: what is held out is held out by documents, never by half of one.

A text that begins with a heading ``= Title =`` is cut at such headings, as WikiText is; of any other each line is a
document: a dialogue, a line of the synthetic language, a paragraph.  Held-out documents that stand in the training
text are refused.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

from llmlab.errors import TextError
from llmlab.text.corpus import Corpus

TITLE = re.compile(r"= (?![=\s])(.+)(?<![=\s]) =")
FEWEST_WORDS_OF_TEXT = 15
"""A title is followed by a smaller heading, or by a line of at least this many words."""

LONG = 16
"""Words from which on a document that occurs twice is no coincidence."""


def documents(corpus: Corpus) -> tuple[list[str], list[str], list[str]]:
    """Return the documents to train on, those held out, and those that nothing is chosen by, each as text.

    Of the last there are none where the corpus has no such split.

    Raises:
        TextError: documents of a split stand in one before it.
    """
    train, valid, test = corpus.train, corpus.valid, corpus.test
    if titled(train):
        # what stands before the first title may be the rest of an article that the split went through
        valid, test = (list(articles(lines[next(iter(title_lines(lines)), 0) :])) for lines in (valid, test))
        train = list(articles(train))
    check_apart(corpus.name, train, valid)
    check_apart(corpus.name, [*train, *valid], test)
    return train, valid, test


def document_of_each(lines: list[str], *, in_articles: bool) -> list[int]:
    """Return the number of the document that each line is in, from 0."""
    begins = set(title_lines(lines)) if in_articles else range(len(lines))
    return list(accumulate((place in begins for place in range(1, len(lines))), initial=0)) if lines else []


def titled(lines: list[str]) -> bool:
    """Return whether a text is one of articles: its first line is a title."""
    return bool(lines) and 0 in title_lines(lines[:2])


def title_lines(lines: list[str]) -> list[int]:
    """Return which lines are titles of articles.

    WikiText breaks tables and formulas so that what lies between two of their equals signs looks like a heading:
    ``= Played , W =``.  A title has no semicolon and no half bracket, begins with no small letter, ends with no
    abbreviation after a comma, and there is text below it.
    """
    return [number for number, line in enumerate(lines) if is_title(line) and begins_text(lines, number + 1)]


def is_title(line: str) -> bool:
    """Return whether a line may be the title of an article.

    Example:
        >>> is_title("= Homarus gammarus ="), is_title("= = Description = ="), is_title("= Played , W =")
        (True, False, False)
    """
    found = TITLE.fullmatch(line)
    if found is None:
        return False
    words = found[1]
    opened = words.count("(") - words.count(")")
    torn = opened or ")" in words.partition("(")[0]
    return not torn and ";" not in words and not words[0].islower() and not re.search(r" , \w{1,3}$", words)


def begins_text(lines: list[str], number: int) -> bool:
    """Return whether a line can be the first one below a title."""
    below = lines[number] if number < len(lines) else ""
    return below.startswith("= =") or len(below.split()) >= FEWEST_WORDS_OF_TEXT


def articles(lines: list[str]) -> Iterator[str]:
    """Yield the articles of a text, each from its title on, with line ends between its lines."""
    cuts = [0, *(number for number in title_lines(lines) if number), len(lines)]
    for start, end in pairwise(cuts):
        if start < end:
            yield "\n".join(lines[start:end])


def undone(text: str) -> str:
    """Return a text with the joins of WikiText's own tokenisation undone.

    Example:
        >>> undone("a first @-@ class 1 @,@ 000 metres at 2 @.@ 5")
        'a first-class 1,000 metres at 2.5'
    """
    return re.sub(r" @([-,.])@ ", r"\1", text)


def check_apart(name: str, train: Iterable[str], valid: list[str]) -> None:
    """Check that what is held out does not stand in the training text.

    A document of 16 words or more may never stand in both.  Shorter ones repeat by chance, as greetings do and lines
    of the synthetic language; they are refused where more than half of what is held out is in the training text.
    """
    seen = {fingerprint(document) for document in train}
    both = [document for document in valid if fingerprint(document) in seen]
    long = [document for document in both if len(document.split()) >= LONG]
    if long or 2 * len(both) > len(valid):
        beginning = " ".join((long or both)[0].split())[:60]
        raise TextError(
            f"{name}: {len(both):,} of {len(valid):,} held-out documents stand in the training text too; the first "
            f"begins {beginning!r}; take them out of one of the two"
        )


def fingerprint(document: str) -> bytes:
    """Return the SHA-256 of a document's words; blanks and line ends do not count."""
    return hashlib.sha256(" ".join(document.split()).encode("utf-8", "surrogatepass")).digest()
