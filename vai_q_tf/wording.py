"""How lists and numbers are written in sentences and tables."""


def some_of(texts, most=3, between=', '):
    """The first `most` of the texts, and how many more there are."""
    texts = list(texts)
    return between.join(texts[:most]) + (' and {} more'.format(len(texts) - most) if len(texts) > most else '')


def percent(share):
    """A share of 1 in percent."""
    value = 100 * share
    if 0 < value < 0.1:
        return '< 0.1 %'
    return ('{:.0f} %' if value in (0, 100) else '{:.2f} %' if value < 1 else '{:.1f} %').format(value)
