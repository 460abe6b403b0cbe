"""The part of the calibration data, kept in memory, that aids are fitted on and judged by."""
from typing import Collection, Dict, List, NamedTuple, Set

import numpy as np

from vai_q_tf.types import Feed, InputFn

FEWEST_IMAGES = 48  # fewer lack too many of the rare values that a position must cover
_MOST_IMAGES = 512
_MOST_ELEMENTS = 2**24  # in all feeds together: 110 images of 224 x 224 x 3
_PARTS = 3  # the last of them judges


class Data(NamedTuple):
    """Feeds in the order of the steps. Aids are fitted on `fitted` and judged by `unseen`, which follows it."""
    fitted: List[Feed]
    unseen: List[Feed]

    @property
    def everything(self) -> List[Feed]:
        return self.fitted + self.unseen


class Kept:
    """The function `feed`, which keeps evenly spaced feeds: as many as fit in memory, but at least _PARTS.

    Attributes:
      feeds: the feeds that were kept. images: number of images in all feeds. spoilt: whether none of `feeds` can be used.
    """

    def __init__(self, feed: InputFn, steps: int) -> None:
        self._feed, self._steps = feed, steps
        self._chosen: Set[int] = set()
        self._sizes: Dict[int, int] = {}
        self.feeds: List[Feed] = []
        self.images, self.spoilt = 0, False

    def __call__(self, step: int) -> Feed:
        feed = self._feed(step)
        self._sizes[step] = count_images(feed)
        self.images += self._sizes[step]
        self._chosen = self._chosen or self._choose(feed)
        if step in self._chosen:
            self.feeds.append({name: np.array(value) for name, value in feed.items()})  # its owner may overwrite the arrays
        return feed

    def _choose(self, feed: Feed) -> Set[int]:
        """The steps to keep if all feeds are as large as this one."""
        most = min(_MOST_IMAGES // max(count_images(feed), 1),
                   _MOST_ELEMENTS // max(sum(np.size(value) for value in feed.values()), 1))
        return set(np.linspace(0, self._steps - 1, min(self._steps, max(most, _PARTS))).astype(int))

    def drop(self, steps: Collection[int]) -> int:
        """Drops the feeds of these steps, in which the network had NaN or infinity, unless no others are left; how many."""
        fit = [feed for step, feed in zip(sorted(self._chosen), self.feeds) if step not in steps]
        self.spoilt = not fit
        if self.spoilt:
            return 0
        self.images -= sum(self._sizes[step] for step in steps)
        dropped, self.feeds = len(self.feeds) - len(fit), fit
        return dropped


def count_images(feed: Feed) -> int:
    """The number of images in a feed: the size of the first axis of its largest array, 1 for a scalar."""
    largest = max(map(np.shape, feed.values()), key=np.prod, default=())
    return largest[0] if largest else 1


def split(feeds: List[Feed], cut: bool = True) -> Data:
    """The Data of feeds: the last third judges, and none of its images precedes one that is fitted on.

    One or two batches are cut along the first axis, unless `cut` is False or the sizes of their arrays differ there; each part
    gets the scalars. With a single feed, `unseen` is empty.
    """
    if cut and len(feeds) < _PARTS:
        feeds = [part for feed in feeds for part in _cut(feed)]
    fitted = min(len(feeds) - len(feeds) // _PARTS, max(len(feeds) - 1, 1))
    return Data(feeds[:fitted], feeds[fitted:])


def _cut(feed: Feed) -> List[Feed]:
    count = count_images(feed)
    if count < _PARTS or any(np.ndim(value) and len(value) != count for value in feed.values()):
        return [feed]
    edges = np.linspace(0, count, _PARTS + 1).astype(int)
    return [{name: value[start:end] if np.ndim(value) else value for name, value in feed.items()}
            for start, end in zip(edges, edges[1:])]
