"""The share of a network that is quantized, and why the rest stays float."""
import collections
import re
from typing import NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.coverage.node_status import FLOAT, inspect_nodes
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.wording import some_of

HEAVY = 'convolutions and matmuls'
# Ops that count as such although no plan quantizes weights of theirs.
_HEAVY_OPS = frozenset((
    'BatchMatMul', 'BatchMatMulV2', 'Conv3DBackpropInputV2', 'DepthwiseConv2dNativeBackpropInput', 'Einsum', 'SparseMatMul'))


class Coverage(NamedTuple):
    """The quantized part of a range.

    Attributes:
      weighted: the convolutions and matmuls.
      types: their op types.
      quantized: those of them with quantized weights.
      ops: the number of ops that compute floats which depend on the inputs.
      floats: (reason, names) of those that stay float, the most frequent reason first.
    """
    weighted: Tuple[str, ...]
    types: Tuple[str, ...]
    quantized: Tuple[str, ...]
    ops: int
    floats: Tuple[Tuple[str, Tuple[str, ...]], ...]

    @property
    def left_float(self) -> int:
        """The number of ops that stay float."""
        return sum(len(names) for _, names in self.floats)

    def __str__(self) -> str:
        heavy = ('{} of {} {} are quantized'.format(len(self.quantized), len(self.weighted), HEAVY) if self.weighted
                 else 'there are no ' + HEAVY)
        return '{}, {} of {} ops stay float'.format(heavy, self.left_float, self.ops)


def coverage(graph_def: tf.GraphDef, plan: QuantPlan) -> Coverage:
    """The Coverage of a float GraphDef by its plan."""
    view = GraphView(graph_def)
    nodes = list(inspect_nodes(view, plan))
    floats = collections.defaultdict(list)
    for node in nodes:
        if node.status == FLOAT:
            floats[_kind(node.reason)].append(node.name)
    quantized = {group.node for group in plan.groups if group.weight}
    heavy = [node for node in nodes if trait(node.op).kind == WEIGHTED or node.op in _HEAVY_OPS]
    weighted, types = tuple(node.name for node in heavy), tuple(node.op for node in heavy)
    return Coverage(weighted, types, tuple(name for name in weighted if name in quantized), len(nodes), tuple(
        (reason, tuple(names)) for reason, names in sorted(floats.items(), key=lambda item: -len(item[1]))))


def _kind(reason: str) -> str:
    """The reason without names of nodes, so that equal reasons are counted together."""
    return re.sub(r"^its input '.*?' is computed", 'an input is computed', reason)


def warn(found: Coverage) -> None:
    """Logs a warning if fewer than half of the convolutions and matmuls are quantized, or if there are none."""
    if 2 * len(found.quantized) >= len(found.weighted) > 0:
        return
    if not found.weighted:
        tf.logging.warning('No weights are quantized: between the input and output nodes there are no %s. Name others if the '
                           'network has some.', HEAVY)
        return
    start = 'Only {} of {} {} are quantized'.format(len(found.quantized), len(found.weighted), HEAVY)
    reasons = {name: reason for reason, names in found.floats for name in names}
    missing = [(op, name) for name, op in zip(found.weighted, found.types) if name not in found.quantized]
    tf.logging.warning('%s: %s', start if found.quantized else 'No weights are quantized', some_of(
        ('{} {!r}: {}'.format(op, name, reasons[name]) for op, name in missing if name in reasons), between='; '))
