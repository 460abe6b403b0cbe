"""Lists and numbers in sentences and tables."""
from typing import Iterable


def some_of(texts: Iterable[str], most: int = 3, between: str = ', ') -> str:
    """The first `most` texts, joined, and how many more there are."""
    texts = list(texts)
    return between.join(texts[:most]) + (' and {} more'.format(len(texts) - most) if len(texts) > most else '')


def percent(share: float) -> str:
    """A share between 0 and 1 as a percentage, such as '2.3 %'; '< 0.1 %' for a smaller one above 0."""
    value = 100 * share
    if 0 < value < 0.1:
        return '< 0.1 %'
    return ('{:.0f} %' if value in (0, 100) else '{:.2f} %' if value < 1 else '{:.1f} %').format(value)
