"""Samples of the inputs and results of a layer, at random places of the batches.

The places are random because a regular stride may meet the same columns of every image.
"""
import math
from typing import NamedTuple, Sequence, Tuple

import numpy as np

from vai_q_tf.ptq.fitting.layers import Layer

MOST_PRODUCTS = 4608  # of a sampled layer; the second moments of more would take too much memory
_MOST_SAMPLES, _MOST_OF_GROUPS = 8000, 3000
_MOST_VALUES = 2**26
_ROWS = 32


class Samples(NamedTuple):
    """x: float32 [groups, samples, products], the inputs of the maps of a Layer. y: float32 [groups, samples, channels of a
    group], the results there. images: [samples], the number of the image of each."""
    x: np.ndarray
    y: np.ndarray
    images: np.ndarray


class Geometry(NamedTuple):
    """The window of a convolution. strides, dilations: (down, right). padding: 'SAME' or 'VALID'."""
    strides: Tuple[int, int] = (1, 1)
    dilations: Tuple[int, int] = (1, 1)
    padding: str = 'VALID'


def take_samples(layer: Layer, kernel: Tuple[int, int], inputs: Sequence[np.ndarray], results: Sequence[np.ndarray],
                 geometry: Geometry) -> Samples:
    """Samples of a Conv2D, DepthwiseConv2dNative or MatMul with its channels last.

    Args:
      kernel: (height, width) of its window, (1, 1) for a MatMul.
      inputs, results: one array per batch: the inputs of the op, and the results wanted for them.
    """
    groups = inputs[0].shape[-1] if layer.depthwise else 1
    values = inputs[0].shape[-1] * kernel[0] * kernel[1]
    most = min(_MOST_OF_GROUPS if layer.depthwise else _MOST_SAMPLES, max(1, _MOST_VALUES // values))
    places = [value.size // value.shape[-1] for value in results]
    total = sum(places)
    chosen = np.sort(np.random.RandomState(0).permutation(total)[:most])
    xs, ys, images, images_before = [], [], [], 0
    for start, count, data, result in zip(np.cumsum([0] + places), places, inputs, results):
        here = chosen[(chosen >= start) & (chosen < start + count)] - start
        index = np.unravel_index(here, result.shape[:-1])
        ys.append(result[index])
        xs.append(data[index] if data.ndim == 2 else _patches(data, index, kernel, geometry))
        images.append(images_before + index[0])
        images_before += len(result)
    x, y = np.concatenate(xs), np.concatenate(ys)
    if layer.depthwise:
        x = _by_group(x.reshape(len(x), -1, groups))
    else:
        x = x.reshape(1, len(x), -1)
    y = np.ascontiguousarray(np.moveaxis(y.reshape(len(y), groups, -1), 1, 0))
    return Samples(x, y, np.concatenate(images))


def _by_group(values: np.ndarray) -> np.ndarray:
    """[samples, products, groups] as [groups, samples, products]."""
    result = np.empty((values.shape[2],) + values.shape[:2], values.dtype)
    for start in range(0, len(values), _ROWS):  # a single copy is half as fast, as it reads far more than fits in a cache
        result[:, start:start + _ROWS] = np.moveaxis(values[start:start + _ROWS], 2, 0)
    return result


def _patches(data: np.ndarray, index: Tuple[np.ndarray, ...], kernel: Tuple[int, int], geometry: Geometry) -> np.ndarray:
    """The windows [samples, height, width, channels] of places (image, row, column) of the result, padded with zeros."""
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


def _padding_before(size: int, extent: int, geometry: Geometry, axis: int) -> int:
    if geometry.padding == 'VALID':
        return 0
    stride = geometry.strides[axis]
    return max((math.ceil(size / stride) - 1) * stride + extent - size, 0) // 2
