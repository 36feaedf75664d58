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

ROWS, COLUMNS, OTHERS = 3, 4, 104
ROW_WORDS, COLUMN_WORDS = [48, 24, 16, 12], [48, 24, 16]
"""Weights of the words that tell a row, and of those that tell a column; of all others in their place it is 1."""


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
        chance = torch.Generator().manual_seed(seed)
        each, other = len(ROW_WORDS), len(COLUMN_WORDS)
        topics, first, openers = ROWS * COLUMNS, ROWS * each, ROWS * each + COLUMNS * other
        size = openers + OTHERS

        opening = torch.zeros(2, topics, size, dtype=torch.int64)
        opening[0, :, :first] = opening[1, :, first:openers] = 1
        for topic in range(topics):
            row, column = divmod(topic, COLUMNS)
            opening[0, topic, row * each :][:each] = torch.tensor(ROW_WORDS)
            opening[1, topic, first + column * other :][:other] = torch.tensor(COLUMN_WORDS)

        zipf = torch.tensor([5_040 // (rank + 4) for rank in range(OTHERS)])
        follows = 1 + 63 * chosen(size, OTHERS, 14, chance)  # (W, OTHERS)
        likes = 1 + 23 * chosen(topics, OTHERS, 26, chance)  # (K, OTHERS)
        words = made_up_words(size, chance)
        if dialect is not None:
            chance = torch.Generator().manual_seed(dialect)
            follows[::2] = 1 + 63 * chosen(len(follows[::2]), OTHERS, 14, chance)
            likes = 1 + 23 * chosen(topics, OTHERS, 26, chance)
        following = torch.zeros(topics, size, size, dtype=torch.int64)
        following[:, :, openers:] = zipf * follows * likes[:, None]
        following.diagonal(dim1=1, dim2=2).zero_()  # no word stands twice in a row
        return cls(words, opening, following)

    @cached_property
    def weights(self) -> Tensor:
        """The weights of the first, the second and every later word: (3, K, W, W), its topic, the word before, itself.

        To the first two the word before makes no difference.
        """
        return torch.stack([*self.opening[:, :, None].expand(-1, *self.following.shape), self.following])

    @cached_property
    def probabilities(self) -> Tensor:
        """P(word | topic, word before), likewise: (3, K, W, W) float64."""
        return self.weights / self.weights.sum(-1, keepdim=True).double()

    @cached_property
    def hazards(self) -> Tensor:
        """P(the line ends here) after no, one, … ``most`` words: (most + 1,)."""
        hazards = [0.0] * self.fewest + [1 / self.ending] * (self.most - self.fewest) + [1.0]
        return torch.tensor(hazards, dtype=torch.float64)

    def vocabulary(self) -> WordVocabulary:
        """Return the marks and all words of the language."""
        return WordVocabulary((*MARKS, *self.words))

    def lines(self, count: int, seed: int) -> list[str]:
        """Draw lines; the first ones do not depend on how many are drawn."""
        chance = torch.Generator().manual_seed(seed)
        draws = torch.randint(1 << DRAW_BITS, (count, 1 + 2 * self.most), generator=chance)
        topic = draws[:, 0] * len(self.following) >> DRAW_BITS
        cumulative, words = self.weights.cumsum(-1), torch.zeros(count, self.most, dtype=torch.int64)
        for place in range(self.most):
            weights = cumulative[min(place, 2), topic, words[:, place - 1]]  # (B, W)
            drawn = draws[:, 1 + place, None] * weights[:, -1:] >> DRAW_BITS
            words[:, place] = (weights <= drawn).sum(-1)
        ends = draws[:, 1 + self.most :] * self.ending >> DRAW_BITS == 0  # after each word
        ends[:, : self.fewest - 1], ends[:, -1] = False, True
        lengths = (ends.int().argmax(-1) + 1).tolist()
        return [
            " ".join(self.words[word] for word in row[:length])
            for row, length in zip(words.tolist(), lengths, strict=True)
        ]

    def log_probabilities(self, windows: Tensor, vocabulary: WordVocabulary) -> Tensor:
        """Return ln P(token | all tokens before it) of each target: (N, L) -> (N, L - 1) float64, 0 at ``<pad>``.

        Windows are whole lines from ``<bos>`` to ``<eos>``, or it is a ``ValueError``.
        """
        words, ends = self.read(windows, vocabulary)
        topics, found = len(self.following), torch.zeros(words.shape, dtype=torch.float64)
        belief = torch.full((len(words), topics), 1 / topics, dtype=torch.float64)  # P(topic, all words so far): (B, K)
        for place in range(words.shape[1]):
            told = self.probabilities[min(place, 2)][:, words[:, place - 1], words[:, place]].T
            found[:, place] = (belief * told).sum(-1) / belief.sum(-1)
            belief = belief * told
        hazard = self.hazards[: words.shape[1]]
        return logarithms(torch.where(ends, hazard, found * (1 - hazard)), windows)

    def bigram_log_probabilities(self, windows: Tensor, vocabulary: WordVocabulary) -> Tensor:
        """Return ln P(token | only the token before it) of each target; arguments and result as above."""
        words, ends = self.read(windows, vocabulary)
        size = len(self.words)
        before = torch.cat([torch.full_like(words[:, :1], size), words[:, :-1]], 1)
        return logarithms(self.bigram[before, torch.where(ends, size, words)], windows)

    @cached_property
    def bigram(self) -> Tensor:
        """P(token | token before), over all places of all lines: (W + 1, W + 1).

        The last row is after ``<bos>``, the last column is ``<eos>``.
        """
        pairs = torch.zeros(len(self.words) + 1, len(self.words) + 1, dtype=torch.float64)
        here = self.probabilities[0, :, 0] / len(self.following)  # P(topic, word at this place): (K, W)
        pairs[-1, :-1] = here.sum(0)
        reached = 1.0  # P(the line has a word at this place)
        for place in range(self.most):
            step, end = self.probabilities[min(place + 1, 2)], float(self.hazards[place + 1])
            pairs[:-1, -1] += reached * end * here.sum(0)
            reached *= 1 - end
            pairs[:-1, :-1] += reached * torch.einsum("ka,kab->ab", here, step)
            here = torch.einsum("ka,kab->kb", here, step)
        return pairs / pairs.sum(-1, keepdim=True)

    def read(self, windows: Tensor, vocabulary: WordVocabulary) -> tuple[Tensor, Tensor]:
        """Return the targets as numbers of this language's words (0 for a mark), and which of them end the line.

        Both (N, T), with T as long as the longest line at most.
        """
        own = {word: number for number, word in enumerate(self.words)}
        numbers = torch.tensor([own.get(word, -1) for word in vocabulary.words])
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
    drawn = torch.stack([torch.randperm(columns, generator=chance)[:count] for _ in range(rows)])
    return torch.zeros(rows, columns, dtype=torch.int64).scatter_(1, drawn, 1)


def made_up_words(count: int, chance: torch.Generator) -> tuple[str, ...]:
    """Return different words of two syllables each."""
    pairs = [one + other for one in SYLLABLES for other in SYLLABLES]
    return tuple(pairs[number] for number in torch.randperm(len(pairs), generator=chance)[:count].tolist())


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
