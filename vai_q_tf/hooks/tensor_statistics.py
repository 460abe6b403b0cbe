"""What a step of a training can tell of its quantized tensors: how much is out of range, and how large the noise is.

The ops are made before the session, and run in those steps alone in which somebody fetches them.
"""
from typing import NamedTuple, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.decibels import decibels
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.live_editor import reroute, tensor
from vai_q_tf.qat import graph_record

SCOPE = 'vai_q_tf/statistics/'
_SUMS = '/sums'


class Statistic(NamedTuple):
    """saturated: share of the elements out of the range of bits and position. db: signal to quantization noise; None where
    there is no signal, or no noise.
    """
    saturated: float
    db: Optional[float]


class TensorStatistics:
    """Statistics of the quantized tensors of a training graph; makes their ops, unless the graph has them or is finalized.

    Of several copies of the network it is the first one that is looked at.
    """

    def __init__(self, graph):
        self._graph = graph
        self._ops = graph_record.quantizing_ops(graph)
        self._sums, self._run_by = {}, {}
        with graph.as_default(), tf.control_dependencies(None), tf.device(None):
            for name, op in self._ops.items():
                try:
                    self._sums[name] = tensor(graph, SCOPE + name + _SUMS)
                except KeyError:
                    if not graph.finalized:
                        with tf.name_scope(SCOPE + name + '/'), tf.device(op.device):
                            self._sums[name] = _sums(op, SCOPE + name + _SUMS)

    def of_run(self, fetches):
        """{name: tensor to fetch with a run of `fetches`} for the tensors that this run quantizes anyway."""
        try:
            starts = frozenset(_ops(self._graph, fetches))
        except (KeyError, TypeError, ValueError):
            return {}  # what MonitoredSession reports
        if starts not in self._run_by:
            run = reach(starts, lambda op: [value.op for value in op.inputs] + op.control_inputs)
            self._run_by[starts] = {name: value for name, value in self._sums.items() if self._ops[name] in run}
        return self._run_by[starts]


def statistic(sums):
    """The Statistic that the values of a tensor of `of_run` tell."""
    saturated, energy, noise = map(float, sums)
    return Statistic(saturated, decibels(noise, energy) if energy > 0 and noise > 0 else None)


def _ops(graph, fetches):
    if isinstance(fetches, dict):
        fetches = list(fetches.values())
    if isinstance(fetches, (list, tuple)):
        return [op for fetch in fetches for op in _ops(graph, fetch)]
    element = graph.as_graph_element(fetches, allow_tensor=True, allow_operation=True)
    return [getattr(element, 'op', element)]


def _sums(op, name):
    """float32 [3], called `name`: the share out of range, the mean square of the values, and of what quantization adds.

    In units of the step of the position. The product is a copy: the training may change the variable that is read meanwhile.
    """
    bits, narrow, position = op.get_attr('bit_width'), op.get_attr('symmetric'), op.inputs[-1]
    values, unit = tf.identity(op.outputs[0]), tf.pow(2.0, tf.cast(position, tf.float32))
    # A new op that is given the float tensor would get the quantized one, see `replaced_tensors`.
    reroute(op.graph, [(values.op.name, 0)], op.inputs[0])
    if op.type == 'VaiScaledFixNeuron':
        values = tf.reshape(values, [-1, tf.size(op.inputs[1]), op.get_attr('inner')])
        unit *= op.inputs[1][:, tf.newaxis]
    values *= unit
    high = 2.0 ** (bits - 1) - 1
    outside = (values > high) | (values < (-high if narrow else -high - 1))
    noise = ops.vai_fix_neuron(values, tf.constant(0), bits, op.get_attr('mode'), narrow) - values
    means = [tf.reduce_mean(tf.cast(outside, tf.float32)), tf.reduce_mean(tf.square(values)), tf.reduce_mean(tf.square(noise))]
    return tf.stack(means, name=name + '/')
