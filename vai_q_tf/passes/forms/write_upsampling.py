"""Writes upsampling by reshapes as ResizeNearestNeighbor, which the DPU computes."""
from typing import Collection, List, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node
from vai_q_tf.patterns.combinators import Match, anything, either, find, op

_APART = op('Reshape', anything('x'), anything(), name='apart')
_UPSAMPLING = op('Reshape', either(op('Mul', _APART, anything('ones'), any_order=True), op('Tile', _APART, anything('tiles'))),
                 anything())


def write_upsampling(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with a ResizeNearestNeighbor in place of each Reshape of [N, H, W, C] to [N, H, 1, W, 1, C], times ones of
    [1, 1, a, 1, b, 1] or tiled, and a Reshape to [N, a * H, b * W, C]; it has the name of the latter.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> def upsample(x):
    ...     return tf.reshape(tf.tile(tf.reshape(x, [-1, 2, 1, 3, 1, 4]), [1, 1, 2, 1, 2, 1]), [-1, 4, 6, 4])
    >>> print_before_and_after(write_upsampling, upsample, [-1, 2, 3, 4])
    Reshape(Tile(Reshape(x, [-1, 2, 1, 3, 1, 4]), [1, 1, 2, 1, 2, 1]), [-1, 4, 6, 4])
    ResizeNearestNeighbor(x, [4, 6])
    """
    rewriter = Rewriter(graph_def, protected)
    view, static = rewriter.view, static_nodes(rewriter.view, in_branches=True)
    for name in computed_floats(view, ('Reshape',), static):
        match = find(view, name, _UPSAMPLING)
        size = _size(rewriter, name, match) if match else None
        if match and size:
            inner = [node for node in match.nodes if node not in static]
            limit = snippets.add_constant(rewriter, name + '/size', np.int32(size))
            resized = make_node('ResizeNearestNeighbor', name, [match['x'], limit], like=rewriter.node(name), T=tf.float32,
                                align_corners=False, half_pixel_centers=False)
            rewriter.inherit_sources(resized, *inner[1:])
            rewriter.add(resized)
    return rewriter.result()


def _size(rewriter: Rewriter, name: str, match: Match) -> Optional[List[int]]:
    """Height and width of the result; None if the match is no upsampling, or others read what is inside."""
    view = rewriter.view
    shape, apart, result = (view.shape(tensor) for tensor in (match['x'], match['apart'], name))
    factors = _factors(rewriter, match)
    if not shape or len(shape) != 4 or min(shape[1:]) < 1 or factors[:2] + factors[3::2] != [1, 1, 1, 1]:
        return None
    height, width, channels = shape[1:]
    size = [height * factors[2], width * factors[4]]
    if (apart or [])[1:] != [height, 1, width, 1, channels] or (result or [])[1:] != size + [channels]:
        return None
    return size if all(rewriter.is_read_only_by(node, match.nodes) for node in match.nodes[1:]) else None


def _factors(rewriter: Rewriter, match: Match) -> List[int]:
    """How often the values are repeated along each axis; [] if that is unknown, or the numbers are not ones."""
    tiles, ones = (rewriter.value(match.get(key)) if match.get(key) else None for key in ('tiles', 'ones'))
    if tiles is not None:
        return [int(number) for number in tiles]
    return list(ones.shape) if ones is not None and (ones == 1).all() else []
