"""Notices tensors that are NaN or infinite in a batch, at the cost of one sum a tensor.

The model has no such numbers, and what comes after may hide them: a ReLU or an argmax gives a number for NaN.
"""
import collections

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import CONTROL_FLOW_OPS
from vai_q_tf.graph.view import indexed_name
from vai_q_tf.passes.common.rewriter import make_node

_SHOWN = 3


class NotFinite:
    """Watches tensors of a graph, which is the default graph when this is made.

    Args:
      tensors: {name of a float32 tensor of the graph: what it is called}, in the order of the network.

    Attributes:
      fetches: names of what `add` is given the values of.
    """

    def __init__(self, tensors):
        self._tensors = dict(tensors)
        self.fetches = [_sums(tf.get_default_graph(), list(self._tensors)).name] if self._tensors else []
        self._steps = collections.OrderedDict()

    def add(self, sums, step, run):
        """Notes which tensors are not finite in a step.

        A sum of large numbers can overflow, so where it does the tensor itself is looked at.

        Args:
          sums: the values of `fetches`.
          run: a function from a list of names to the values of these tensors in the step.
        """
        suspects = [name for row in sums for name, total in zip(self._tensors, row) if not np.isfinite(total)]
        for name, value in zip(suspects, run(suspects) if suspects else ()):
            if not np.isfinite(value).all():
                self._steps.setdefault(name, []).append(step)

    def steps(self):
        """The steps in which anything was not finite."""
        return frozenset(step for steps in self._steps.values() for step in steps)

    def warn(self, steps):
        """Logs what was found in that many steps, if anything."""
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


def _sums(graph, tensors):
    """Adds the sums of the tensors of a graph, float32 [tensors].

    By a GraphDef, for Python takes its time over each op that it makes.
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


def float_outputs(view, plan):
    """{tensor: name} of the output nodes that give float32 and are not quantized; none that may not run."""
    quantized = {record.tensor for record in plan.tensors}
    return {indexed_name(name): name for name in plan.output_nodes
            if name not in quantized and view.dtype(name) == tf.float32
            and not any(view.op(other) in CONTROL_FLOW_OPS for other in view.upstream([name]))}
