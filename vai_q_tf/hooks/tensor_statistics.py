"""Statistics of the quantized tensors in a step of a training: the share of values out of range, and the noise.

Their ops are added before the session is created, and run only in steps that fetch them.
"""
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import ops
from vai_q_tf.decibels import decibels
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.live_editor import reroute, tensor
from vai_q_tf.qat import graph_record

SCOPE = 'vai_q_tf/statistics/'
_SUMS = '/sums'


class Statistic(NamedTuple):
    """saturated: share of the elements out of the range of bits and position.

    db: signal to quantization noise ratio; None without signal or without noise.
    """
    saturated: float
    db: Optional[float]


class TensorStatistics:
    """Statistics of the quantized tensors of a training graph; adds their ops unless the graph has them or is finalized.

    Of several copies of the network it observes the first one.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self._graph = graph
        self._ops = graph_record.quantizing_ops(graph)
        self._sums: Dict[str, tf.Tensor] = {}
        self._run_by: Dict[FrozenSet[tf.Operation], Dict[str, tf.Tensor]] = {}
        with graph.as_default(), tf.control_dependencies(None), tf.device(None):
            for name, op in self._ops.items():
                sums = _existing(graph, SCOPE + name + _SUMS)
                if sums is None and not graph.finalized:
                    with tf.name_scope(SCOPE + name + '/'), tf.device(op.device):
                        sums = _sums(op, SCOPE + name + _SUMS)
                if sums is not None:
                    self._sums[name] = sums

    def of_run(self, fetches: Any) -> Dict[str, tf.Tensor]:
        """{name: tensor to fetch in a run of `fetches`} for the tensors that this run quantizes anyway."""
        try:
            starts = frozenset(_ops(self._graph, fetches))
        except (KeyError, TypeError, ValueError):
            return {}  # the run itself raises for such fetches
        if starts not in self._run_by:
            run = reach(starts, lambda op: [value.op for value in op.inputs] + op.control_inputs)
            self._run_by[starts] = {name: value for name, value in self._sums.items() if self._ops[name] in run}
        return self._run_by[starts]


def statistic(sums: np.ndarray) -> Statistic:
    """The Statistic for the value of a tensor of `of_run`."""
    saturated, energy, noise = map(float, sums)
    return Statistic(saturated, decibels(noise, energy) if energy > 0 and noise > 0 else None)


def _existing(graph: tf.Graph, name: str) -> Optional[tf.Tensor]:
    """The tf.Tensor `name`; None if the graph lacks it."""
    try:
        return tensor(graph, name)
    except KeyError:
        return None


def _ops(graph: tf.Graph, fetches: Any) -> List[tf.Operation]:
    """The ops of fetches, which may be nested as in Session.run."""
    if isinstance(fetches, dict):
        fetches = list(fetches.values())
    if isinstance(fetches, (list, tuple)):
        return [op for fetch in fetches for op in _ops(graph, fetch)]
    element = graph.as_graph_element(fetches, allow_tensor=True, allow_operation=True)
    return [getattr(element, 'op', element)]


def _sums(op: tf.Operation, name: str) -> tf.Tensor:
    """float32 [3], named `name`: the share out of range, the mean square of the values, and that of the quantization noise.

    Both are in units of the position's step. The values are a copy: the training may change the variable in the meantime.
    """
    bits, narrow, position = op.get_attr('bit_width'), op.get_attr('symmetric'), op.inputs[-1]
    values, unit = tf.identity(op.outputs[0]), tf.pow(2.0, tf.cast(position, tf.float32))
    # A new op with the float tensor as its input would read the quantized one instead, see `replaced_tensors`.
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
