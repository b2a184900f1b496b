"""Edit distance, for character error rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Insertions, deletions and replacements that turn `a` into `b`."""
    row = np.arange(len(b) + 1)
    for i, x in enumerate(a, 1):
        previous, row[0] = row.copy(), i
        for j, y in enumerate(b, 1):
            row[j] = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y))
    return int(row[-1])
