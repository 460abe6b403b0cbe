"""Calibration data that aids are fitted on and judged by: a part of what the input function gives, kept in memory."""
from typing import List, NamedTuple

import numpy as np

FEWEST_IMAGES = 24  # below, aids would learn the images
_MOST_IMAGES = 512
_MOST_ELEMENTS = 2**24  # of all that is kept: 110 images of 224 x 224 x 3
_PARTS = 3  # of which the last judges


class Data(NamedTuple):
    """fitted, unseen: lists of feeds {tensor name: array}, in the order of the data; unseen comes after fitted."""
    fitted: List
    unseen: List

    @property
    def everything(self):
        return self.fitted + self.unseen


class Kept:
    """A function from the step to a feed, as `feed`, that keeps evenly spaced feeds: _PARTS, or as many as memory allows.

    Attributes:
      feeds: those that were kept. images: how many there were in all. spoilt: whether none of `feeds` is fit to be used.
    """

    def __init__(self, feed, steps):
        self._feed, self._steps, self._chosen = feed, steps, None
        self.feeds, self.images, self.spoilt = [], 0, False
        self._sizes = {}

    def __call__(self, step):
        feed = self._feed(step)
        self._sizes[step] = count_images(feed)
        self.images += count_images(feed)
        if self._chosen is None:
            most = min(_MOST_IMAGES // max(count_images(feed), 1),
                       _MOST_ELEMENTS // max(sum(np.size(value) for value in feed.values()), 1))
            self._chosen = set(np.linspace(0, self._steps - 1, min(self._steps, max(most, _PARTS))).astype(int))
        if step in self._chosen:
            self.feeds.append({name: np.array(value) for name, value in feed.items()})  # its owner may write into it again
        return feed

    def drop(self, steps):
        """Drops the feeds of these steps, in which the network had NaN or infinity; how many.

        All stay where nothing else is left.
        """
        fit = [feed for step, feed in zip(sorted(self._chosen), self.feeds) if step not in steps]
        self.spoilt = not fit
        if self.spoilt:
            return 0
        self.images -= sum(self._sizes[step] for step in steps)
        dropped, self.feeds = len(self.feeds) - len(fit), fit
        return dropped


def count_images(feed):
    """How many images a feed has: the size along the first axis of its largest array, 1 where that has none."""
    largest = max(map(np.shape, feed.values()), key=np.prod, default=())
    return largest[0] if largest else 1


def split(feeds, cut=True):
    """The Data of feeds: the last third judges, and no image of it comes before one that is fitted on.

    A single batch, or two, are cut along the first axis, unless `cut` is False or the arrays in it differ there; scalars go
    with each part. Nothing is unseen where a single feed is left.
    """
    if cut and len(feeds) < _PARTS:
        feeds = [part for feed in feeds for part in _cut(feed)]
    fitted = min(len(feeds) - len(feeds) // _PARTS, max(len(feeds) - 1, 1))
    return Data(feeds[:fitted], feeds[fitted:])


def _cut(feed):
    count = count_images(feed)
    if count < _PARTS or any(np.ndim(value) and len(value) != count for value in feed.values()):
        return [feed]
    edges = np.linspace(0, count, _PARTS + 1).astype(int)
    return [{name: value[start:end] if np.ndim(value) else value for name, value in feed.items()}
            for start, end in zip(edges, edges[1:])]
