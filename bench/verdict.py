# SPDX-License-Identifier: ISC
"""Whether a figure of two builds differs by more than its spread (bench/compare)."""
import itertools, math, statistics

SUSPECTED, CONFIRMED = 0.04, 0.004  # chance that the spread of equal builds lies on one side of 1
LEAST = 0.01  # of a difference that matters


def find_cut(count, chance):
    """Returns how many of the lowest means of pairs of `count` values may be cut off, so that Wilcoxon's signed-rank
    statistic is that low with at most this chance. None if there are too few values."""
    ways = [1]  # in which each sum of ranks can occur
    for rank in range(1, count + 1):
        ways = [a + b for a, b in zip(ways + [0] * rank, [0] * rank + ways)]
    below = list(itertools.accumulate(ways))
    return next((cut for cut in range(len(ways) - 1, -1, -1) if below[cut] <= chance * 2 ** count), None)


class Outcome:
    """Turns of two builds, as pairs of figures. The spread is the confidence interval of the ratio NEW / OLD by
    Wilcoxon's test, which outliers do not mislead."""

    def __init__(self, pairs, chance=SUSPECTED):
        logs = [math.log(new / old) for old, new in pairs if old and new] or [0]
        cut = find_cut(len(logs), chance)
        means = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(logs, 2))
        self.old, self.new = (statistics.median(side) for side in zip(*pairs))
        self.ratio, self.tells = math.exp(statistics.median(means)), cut is not None
        self.low, self.high = math.exp(means[cut or 0]), math.exp(means[-1 - (cut or 0)])

    def side(self):
        """1: more than before, -1: less, 0: the spread contains 1, or there are too few turns."""
        return (self.low > 1) - (self.high < 1) if self.tells else 0

    def confirms(self, before):
        """Whether two outcomes, of different turns, are on the same side of 1."""
        return self.side() == before.side() != 0 and abs(self.ratio - 1) >= LEAST
