"""Finds tensors that are NaN or infinite in a batch, at the cost of one sum per tensor.

The quantized model has no such numbers, and later ops may hide them: a ReLU or an argmax returns a number for NaN.
"""
import collections
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS
from vai_q_tf.graph.view import GraphView, indexed_name
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.quant_plan import QuantPlan

_SHOWN = 3


class NotFinite:
    """Watches tensors of the default graph, to which it adds ops.

    Args:
      tensors: {float32 tensor of the graph: its name in messages}, in the order of the network.

    Attributes:
      fetches: the names of the tensors whose values `add` takes.
    """

    def __init__(self, tensors: Mapping[str, str]) -> None:
        self._tensors = dict(tensors)
        self.fetches = [_sums(tf.get_default_graph(), list(self._tensors)).name] if self._tensors else []
        self._steps: Dict[str, List[int]] = collections.OrderedDict()

    def add(self, sums: Sequence[np.ndarray], step: int, run: Callable[[List[str]], Sequence[Any]]) -> None:
        """Notes which tensors are not finite in a step.

        The sum of large numbers may overflow, so a tensor whose sum is not finite is fetched itself.

        Args:
          sums: the values of `fetches`.
          run: gives the values of a list of tensors in the step.
        """
        suspects = [name for row in sums for name, total in zip(self._tensors, row) if not np.isfinite(total)]
        for name, value in zip(suspects, run(suspects) if suspects else ()):
            if not np.isfinite(value).all():
                self._steps.setdefault(name, []).append(step)

    def steps(self) -> FrozenSet[int]:
        """The steps in which a tensor was not finite."""
        return frozenset(step for steps in self._steps.values() for step in steps)

    def warn(self, steps: int) -> None:
        """Logs which tensors were not finite, if any. steps: how many there were."""
        found = [name for name in self._tensors if name in self._steps]
        if not found:
            return
        where = sorted({step for name in found for step in self._steps[name]})
        others = len(found) - _SHOWN
        tf.logging.warning(
            '%s%s: NaN or infinite in %d of %d calibration batches, the first of them in step %d. The model has no such '
            'numbers and computes something else from there on. Look at the data of that step, or keep the network from '
            'dividing by zero or overflowing.', ', '.join(repr(self._tensors[name]) for name in found[:_SHOWN]),
            ' and {} more tensors'.format(others) if others > 0 else '', len(where), steps, where[0])


def _sums(graph: tf.Graph, tensors: Sequence[str]) -> tf.Tensor:
    """Adds the sums of the tensors of a graph, float32 [tensors].

    They are imported as a GraphDef because making each op in Python is slow.
    """
    nodes = [editor.constant('flat', tf.int32, np.array([-1])), editor.constant('axis', tf.int32, 0)]
    for number in range(len(tensors)):
        flat, total = 'flat_{}'.format(number), 'sum_{}'.format(number)
        nodes += [make_node('Reshape', flat, ['tensor_{}'.format(number), 'flat'], T=tf.float32, Tshape=tf.int32),
                  make_node('Sum', total, [flat, 'axis'], T=tf.float32, Tidx=tf.int32)]
    nodes.append(make_node('Pack', 'sums', ['sum_{}'.format(number) for number in range(len(tensors))], T=tf.float32,
                           N=len(tensors)))
    operands = {'tensor_{}:0'.format(number): graph.get_tensor_by_name(name) for number, name in enumerate(tensors)}
    return tf.import_graph_def(tf.GraphDef(node=nodes), operands, ['sums:0'], name='vai_q_tf/not_finite')[0]


def float_outputs(view: GraphView, plan: QuantPlan) -> Dict[str, str]:
    """{tensor: name} of the float32 output nodes that are not quantized and that run in every step."""
    quantized = {record.tensor for record in plan.tensors}
    return {indexed_name(name): name for name in plan.output_nodes
            if name not in quantized and view.dtype(name) == tf.float32
            and not any(view.op(other) in CONTROL_FLOW_OPS for other in view.upstream([name]))}
