# SPDX-License-Identifier: ISC
"""Whether a figure of two builds differs by more than its spread (bench/compare)."""
import statistics

TELLING = 5  # turns; fewer tell nothing
LEAST = 0.01  # what differs by less makes no difference


class Outcome:
    """Turns of two builds, as pairs of figures. The spread is where the ratios NEW / OLD lie without the outermost
    ones, an eighth of them on either side: of 16 turns of equal builds, it does not hold 1 in 0.4 % of cases."""

    def __init__(self, pairs):
        ratios = sorted(new / old for old, new in pairs if old) or [1]
        cut = len(ratios) // 8
        self.old, self.new = (statistics.median(side) for side in zip(*pairs))
        self.ratio, self.turns = statistics.median(ratios), len(ratios)
        self.low, self.high = ratios[cut], ratios[-1 - cut]

    def side(self):
        """1: more than before, -1: less, 0: the spread holds 1, or the turns are too few to tell."""
        return (self.low > 1) - (self.high < 1) if self.turns >= TELLING else 0

    def confirms(self, before):
        """A figure differs if two outcomes, of different turns, are on the same side."""
        return self.side() == before.side() != 0 and abs(self.ratio - 1) >= LEAST
