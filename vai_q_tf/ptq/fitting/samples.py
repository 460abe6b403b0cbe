"""Samples of what a layer reads and gives, at random places of the batches.

At random, because a regular stride would meet the same columns of every image again and again.
"""
import math
from typing import NamedTuple

import numpy as np

MOST_PRODUCTS = 4608  # of a sampled layer; the second moments of more would take too much memory
_MOST_SAMPLES, _MOST_OF_GROUPS = 8000, 3000
_MOST_VALUES = 2**26


class Samples(NamedTuple):
    """x: float32 [groups, samples, products], what the maps of a Layer read; y: float32 [groups, samples, channels of a group],
    what it gives there; photos: [samples], the number of the image."""
    x: np.ndarray
    y: np.ndarray
    photos: np.ndarray


def take_samples(layer, kernel, inputs, results, geometry):
    """Samples of a Conv2D, DepthwiseConv2dNative or MatMul with its channels last.

    Args:
      layer: a Layer. kernel: (height, width) of its window, (1, 1) of a MatMul.
      inputs, results: lists of arrays, one a batch: what it reads, and what is to come of that.
      geometry: the Geometry of its window.
    """
    groups = inputs[0].shape[-1] if layer.depthwise else 1
    values = inputs[0].shape[-1] * kernel[0] * kernel[1]
    most = min(_MOST_OF_GROUPS if layer.depthwise else _MOST_SAMPLES, max(1, _MOST_VALUES // values))
    places = [value.size // value.shape[-1] for value in results]
    total = sum(places)
    chosen = np.sort(np.random.RandomState(0).permutation(total)[:most])
    xs, ys, photos, images = [], [], [], 0
    for start, count, data, result in zip(np.cumsum([0] + places), places, inputs, results):
        here = chosen[(chosen >= start) & (chosen < start + count)] - start
        index = np.unravel_index(here, result.shape[:-1])
        ys.append(result[index])
        xs.append(data[index] if data.ndim == 2 else _patches(data, index, kernel, geometry))
        photos.append(images + index[0])
        images += len(result)
    x, y = np.concatenate(xs), np.concatenate(ys)
    if layer.depthwise:
        x = np.ascontiguousarray(np.moveaxis(x.reshape(len(x), -1, groups), 2, 0))
    else:
        x = x.reshape(1, len(x), -1)
    y = np.ascontiguousarray(np.moveaxis(y.reshape(len(y), groups, -1), 1, 0))
    return Samples(x, y, np.concatenate(photos))


class Geometry(NamedTuple):
    """strides, dilations: (down, right). padding: 'SAME' or 'VALID'."""
    strides: tuple = (1, 1)
    dilations: tuple = (1, 1)
    padding: str = 'VALID'


def _patches(data, index, kernel, geometry):
    """The windows [samples, height, width, channels] of places (image, row, column) of the result, zeros beyond the borders."""
    image, places = index[0], index[1:]
    extents = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, geometry.dilations)]
    rows = []
    for axis, place in enumerate(places):
        first = place * geometry.strides[axis] - _padding_before(data.shape[1 + axis], extents[axis], geometry, axis)
        rows.append(first[:, None] + np.arange(kernel[axis]) * geometry.dilations[axis])
    inside = [(each >= 0) & (each < data.shape[1 + axis]) for axis, each in enumerate(rows)]
    clipped = [np.clip(each, 0, data.shape[1 + axis] - 1) for axis, each in enumerate(rows)]
    windows = data[image[:, None, None], clipped[0][:, :, None], clipped[1][:, None, :]]
    return windows * (inside[0][:, :, None] & inside[1][:, None, :])[..., None]


def _padding_before(size, extent, geometry, axis):
    if geometry.padding == 'VALID':
        return 0
    stride = geometry.strides[axis]
    return max((math.ceil(size / stride) - 1) * stride + extent - size, 0) // 2
