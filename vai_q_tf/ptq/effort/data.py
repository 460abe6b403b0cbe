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
      feeds: those that were kept. images: how many there were in all.
    """

    def __init__(self, feed, steps):
        self._feed, self._steps, self._chosen = feed, steps, None
        self.feeds, self.images = [], 0

    def __call__(self, step):
        feed = self._feed(step)
        self.images += count_images(feed)
        if self._chosen is None:
            most = min(_MOST_IMAGES // max(count_images(feed), 1),
                       _MOST_ELEMENTS // max(sum(np.size(value) for value in feed.values()), 1))
            self._chosen = set(np.linspace(0, self._steps - 1, min(self._steps, max(most, _PARTS))).astype(int))
        if step in self._chosen:
            self.feeds.append(feed)
        return feed


def count_images(feed):
    """How many images a feed has: the size along the first axis of its largest array, 1 where that has none."""
    largest = max(map(np.shape, feed.values()), key=np.prod, default=())
    return largest[0] if largest else 1


def split(feeds, cut=True):
    """The Data of feeds: the last third judges, and no image of it comes before one that is fitted on.

    A single batch, or two, are cut along the first axis where all arrays share it, and where `cut` allows that. Where that
    leaves fewer than three, all of them are both.
    """
    if cut and len(feeds) < _PARTS:
        feeds = [part for feed in feeds for part in _cut(feed)]
    judging = len(feeds) // _PARTS
    if not judging:
        return Data(feeds, feeds)
    return Data(feeds[:-judging], feeds[-judging:])


def _cut(feed):
    count = count_images(feed)
    if count < _PARTS or any(np.ndim(value) == 0 or len(value) != count for value in feed.values()):
        return [feed]
    edges = np.linspace(0, count, _PARTS + 1).astype(int)
    return [{name: value[start:end] for name, value in feed.items()} for start, end in zip(edges, edges[1:])]
