"""A small language whose entropy is known: how well a line can be foretold at all, and without its past.

Each line has a hidden topic.  Its first word tells the topic's row, its second the column (both now and then
stray), and only together they tell the topic.  Every later word follows

    P(word | word before, topic)  ~  Zipf weight of the word * does it follow the word before? * does the topic like it?

so who still knows the first two words guesses better, all along the line.  Because the generator is known, two
perplexities are exact: that of the best reader, who keeps a belief about the topic (Bayes), and that of the best
reader who sees the last word only (bigram).  A model's ``context_recovered`` says how far it came from the second
to the first.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from llmlab.text.words import BOS, EOS, FEWEST_WORDS, MARKS, PAD, WordVocabulary

DRAW_BITS = 32
SYLLABLES = [consonant + vowel for consonant in "bdgklmnprstvz" for vowel in "aiou"]
SPLITS = {"train": (5_000, 1), "valid": (600, 2), "test": (2_000, 5)}
"""Lines and seed of each split.  The lines of the made embedding (``contexts.made``) have the seeds 3 and 4."""

DIALECT_SHARE = 5
"""How many times fewer lines the dialect has: the text one trains further on is always the smaller one."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """The generator: whole-number weights, so that every machine draws the same lines.

    K topics, equally likely; W words.  A line has ``fewest`` to ``most`` words: from ``fewest`` on it ends after
    each word with probability 1 / ``ending``, and after ``most`` for certain.
    """

    words: tuple[str, ...]
    opening: Tensor  # (2, K, W) int64: weights of the first and of the second word
    following: Tensor  # (K, W, W) int64: weights of a later word (last axis) after each word
    fewest: int = FEWEST_WORDS
    most: int = 30  # with <bos> and <eos> a line fits a window of 32 tokens
    ending: int = 16

    @classmethod
    @cache
    def standard(cls) -> "Grammar":
        """Return the language of the study: 12 topics, 24 opening and 104 other words."""
        return cls.drawn(7)

    @classmethod
    @cache
    def dialect(cls) -> "Grammar":
        """Return a dialect of it, in which half the words and every topic have taken to other words.

        Words, their frequencies, openings and lengths of lines are the same.  So whoever knows the language has
        something to build on, something to learn, and something to forget.
        """
        return cls.drawn(7, dialect=11)

    @classmethod
    def drawn(cls, seed: int, *, dialect: int | None = None) -> "Grammar":
        """Draw a language of the study's kind, or with another seed a dialect of it."""
        rows, columns, each, others = 3, 4, (4, 3), 104
        chance = torch.Generator().manual_seed(seed)
        openers = rows * each[0] + columns * each[1]
        topics, size = rows * columns, openers + others

        opening = torch.zeros(2, topics, size, dtype=torch.int64)
        opening[0, :, : rows * each[0]] = 1
        opening[1, :, rows * each[0] : openers] = 1
        for topic in range(topics):
            row, column = topic // columns * each[0], rows * each[0] + topic % columns * each[1]
            opening[0, topic, row : row + each[0]] = torch.tensor([48, 24, 16, 12])
            opening[1, topic, column : column + each[1]] = torch.tensor([48, 24, 16])

        zipf = torch.tensor([5_040 // (rank + 4) for rank in range(others)])
        follows = 1 + 63 * chosen(size, others, 14, chance)  # (W, others)
        likes = 1 + 23 * chosen(topics, others, 26, chance)  # (K, others)
        words = made_up_words(size, chance)
        if dialect is not None:
            chance = torch.Generator().manual_seed(dialect)
            follows[::2] = 1 + 63 * chosen(len(follows[::2]), others, 14, chance)
            likes = 1 + 23 * chosen(topics, others, 26, chance)
        following = torch.zeros(topics, size, size, dtype=torch.int64)
        following[:, :, openers:] = zipf * follows * likes[:, None]
        following.diagonal(dim1=1, dim2=2).zero_()  # no word stands twice in a row
        return cls(words, opening, following)

    def vocabulary(self) -> WordVocabulary:
        """Return the marks and all words of the language."""
        return WordVocabulary((*MARKS, *self.words))

    def lines(self, count: int, seed: int) -> list[str]:
        """Draw lines; the first ones do not depend on how many are drawn."""
        chance = torch.Generator().manual_seed(seed)
        draws = torch.randint(1 << DRAW_BITS, (count, 1 + 2 * self.most), generator=chance)
        topic = draws[:, 0] * len(self.following) >> DRAW_BITS
        openings, followings = self.opening.cumsum(-1), self.following.cumsum(-1)
        numbers = torch.zeros(count, self.most, dtype=torch.int64)
        for place in range(self.most):
            weights = openings[place, topic] if place < 2 else followings[topic, numbers[:, place - 1]]  # (B, W)
            drawn = draws[:, 1 + place, None] * weights[:, -1:] >> DRAW_BITS
            numbers[:, place] = (weights <= drawn).sum(-1)
        ends = draws[:, 1 + self.most :] * self.ending >> DRAW_BITS == 0  # after each word
        ends[:, : self.fewest - 1], ends[:, -1] = False, True
        lengths = ends.int().argmax(-1) + 1
        return [
            " ".join(self.words[number] for number in row[:length])
            for row, length in zip(numbers.tolist(), lengths.tolist(), strict=True)
        ]

    def log_probabilities(self, windows: Tensor, vocabulary: WordVocabulary, memory: int | None = None) -> Tensor:
        """Return ln P(token | all tokens before it) of each target: (N, L) -> (N, L - 1) float64, 0 at ``<pad>``.

        Windows are whole lines from ``<bos>`` to ``<eos>``, or it is a ``ValueError``.  ``memory`` is how many of the
        last words the reader sees, beside the place in the line; all by default.
        """
        words, ends = self.read(windows, vocabulary)
        width, topics = words.shape[1], len(self.following)
        seen = torch.ones(*words.shape, topics, dtype=torch.float64)  # (B, T, K): P(word | word before, topic)
        for place in range(2):
            seen[:, place] = self.first[place][:, words[:, place]].T
        seen[:, 2:] = self.later.permute(1, 2, 0)[words[:, 1:-1], words[:, 2:]]
        found = torch.zeros(words.shape, dtype=torch.float64)
        for place in range(width):
            before = torch.full((len(words), topics), 1 / topics, dtype=torch.float64)  # (B, K)
            if place:
                start = 0 if memory is None else max(0, place - memory)
                before = self.marginals[start][:, words[:, start]].T * seen[:, start + 1 : place].prod(1)
            found[:, place] = (before * seen[:, place]).sum(-1) / before.sum(-1)
        hazard = self.hazards[:width]
        return logarithms(torch.where(ends, hazard, found * (1 - hazard)), windows)

    def bigram_log_probabilities(self, windows: Tensor, vocabulary: WordVocabulary) -> Tensor:
        """Return ln P(token | only the token before it) of each target; arguments and result as above."""
        words, ends = self.read(windows, vocabulary)
        size = len(self.words)
        before = torch.cat([torch.full_like(words[:, :1], size), words[:, :-1]], 1)
        return logarithms(self.bigram[before, torch.where(ends, size, words)], windows)

    @cached_property
    def first(self) -> Tensor:
        """P(word | topic) of the first and the second word: (2, K, W)."""
        return self.opening / self.opening.sum(-1, keepdim=True).double()

    @cached_property
    def later(self) -> Tensor:
        """P(word | topic, word before) of the later words: (K, W, W)."""
        return self.following / self.following.sum(-1, keepdim=True).double()

    @cached_property
    def hazards(self) -> Tensor:
        """P(the line ends here) after no, one, … ``most`` words: (most + 1,)."""
        return torch.tensor(
            [0.0] * self.fewest + [1 / self.ending] * (self.most - self.fewest) + [1.0], dtype=torch.float64
        )

    @cached_property
    def marginals(self) -> Tensor:
        """P(topic, word) at each place, of a line that does not end: (most, K, W)."""
        topics = len(self.following)
        found = [self.first[0] / topics, self.first[1] / topics]
        for _ in range(2, self.most):
            found.append((found[-1][:, None] @ self.later)[:, 0])  # (K, 1, W) @ (K, W, W)
        return torch.stack(found)

    @cached_property
    def bigram(self) -> Tensor:
        """P(token | token before), over all places of all lines: (W + 1, W + 1).

        The last row is after ``<bos>``, the last column is ``<eos>``.
        """
        size = len(self.words)
        reached = (1 - self.hazards[:-1]).cumprod(0)  # P(the line has a word at this place)
        goes_on = reached * (1 - self.hazards[1:])  # … and at the next
        pairs = torch.zeros(size + 1, size + 1, dtype=torch.float64)
        pairs[size, :size] = self.first[0].mean(0)
        pairs[:size, size] = torch.einsum("t,tkw->w", reached * self.hazards[1:], self.marginals)
        pairs[:size, :size] = goes_on[0] * self.marginals[0].T @ self.first[1]
        pairs[:size, :size] += torch.einsum("t,tka,kab->ab", goes_on[1:], self.marginals[1:], self.later)
        return pairs / pairs.sum(-1, keepdim=True)

    def read(self, windows: Tensor, vocabulary: WordVocabulary) -> tuple[Tensor, Tensor]:
        """Return the targets as numbers of this language's words (0 for a mark), and which of them end the line.

        Both (N, T), with T as long as the longest line at most.
        """
        numbers = torch.full((len(vocabulary),), -1)
        for number, word in enumerate(self.words):
            if word in vocabulary.numbers:
                numbers[vocabulary.numbers[word]] = number
        tokens, past = windows[:, 1 : self.most + 2], windows[:, : self.most + 1]
        words, ends, padded = numbers[tokens], tokens == EOS, tokens == PAD
        well_formed = (
            windows.shape[1] >= 3
            and (windows[:, 0] == BOS).all()
            and (windows[:, self.most + 2 :] == PAD).all()
            and ((words >= 0) | ends | padded).all()
            and (padded | ((past != EOS) & (past != PAD))).all()
        )
        if not well_formed:
            raise ValueError("a window is not a whole line of the synthetic language, from <bos> on")
        return words.clamp_min(0), ends


def logarithms(probabilities: Tensor, windows: Tensor) -> Tensor:
    """Return the logarithms, with 0 at ``<pad>`` and behind the longest line: (N, T) -> (N, L - 1)."""
    kept = windows[:, 1:][:, : probabilities.shape[1]] != PAD
    if not (probabilities[kept] > 0).all():
        raise ValueError("a window holds a line that the synthetic language never says")
    found = torch.zeros(windows[:, 1:].shape, dtype=torch.float64)
    found[:, : probabilities.shape[1]] = torch.where(kept, probabilities, 1.0).log()
    return found


def chosen(rows: int, columns: int, count: int, chance: torch.Generator) -> Tensor:
    """Return 1 at ``count`` drawn columns of each row, 0 elsewhere: (rows, columns) int64."""
    found = torch.zeros(rows, columns, dtype=torch.int64)
    for row in found:
        row[torch.randperm(columns, generator=chance)[:count]] = 1
    return found


def made_up_words(count: int, chance: torch.Generator) -> tuple[str, ...]:
    """Return different words of two syllables each."""
    drawn = torch.randperm(len(SYLLABLES) ** 2, generator=chance)[:count].tolist()
    return tuple(SYLLABLES[number // len(SYLLABLES)] + SYLLABLES[number % len(SYLLABLES)] for number in drawn)


def made_lines(language: str, split: str) -> list[str]:
    """Return the lines of a split, a key of ``SPLITS``, the same on every machine; of the ``dialect`` a fifth."""
    count, seed = SPLITS[split]
    if language == "dialect":
        return Grammar.dialect().lines(count // DIALECT_SHARE, seed)
    return Grammar.standard().lines(count, seed)


def context_recovered(bigram_loss: float, model_loss: float, bayes_loss: float) -> float:
    """Return how far a model came from the best reader of one word (0) to the best reader of all words (1).

    Below 0 it is worse than the bigram.  A little above 1 is possible on few tokens: chance, not skill.

    Example:
        >>> context_recovered(2.5, 2.3, 2.1)
        0.5
    """
    return (bigram_loss - model_loss) / (bigram_loss - bayes_loss)
