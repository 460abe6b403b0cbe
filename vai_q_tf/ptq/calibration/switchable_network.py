"""A float network with a switch at every tensor of a plan: quantized at any position, or float, without a new graph."""
from typing import Any, Iterable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.export.fix_neuron_nodes import insert
from vai_q_tf.fixed_point import NO_OBSERVATION
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config, skip_clustering
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.calibration.calibration_network import kernel
from vai_q_tf.types import Feed, Positions

_POSITIONS = 'vai_q_tf/positions'
_SWITCHES = 'vai_q_tf/switches'


class SwitchableNetwork:
    """A session with the network; a context manager that closes it.

    With the final positions of all tensors it equals the quantized model to the bit, without any it equals the float graph.

    Args:
      graph_def: the float GraphDef that was annotated, see `runnable`.
      plan: its QuantPlan, which has the bits of each tensor.
      gpu_memory_fraction: see `session_config`.
    """

    def __init__(self, graph_def: tf.GraphDef, plan: QuantPlan, gpu_memory_fraction: Optional[float] = None) -> None:
        ops.load_library()
        self._numbers = {tensor.name: number for number, tensor in enumerate(plan.tensors)}
        graph = tf.Graph()
        with graph.as_default():
            large_constants.import_graph_def(_switchable(graph_def, plan), name='')
        skip_clustering(graph.get_operation_by_name(_SWITCHES))
        quantized = {tensor.tensor: tensor.name for tensor in plan.tensors}
        self._outputs = [quantized.get(name, name) + ':0' for name in plan.output_nodes]
        self._session = large_constants.session(graph, session_config(gpu_memory_fraction))

    def __enter__(self) -> 'SwitchableNetwork':
        return self

    def __exit__(self, *_: Any) -> None:
        self._session.close()

    def outputs(self, feed: Feed, positions: Positions) -> List[np.ndarray]:
        """The values of the plan's output nodes, after their FixNeurons if they have one.

        Args:
          feed: {tensor name: array}.
          positions: {quantized tensor: position in fractional bits}; all others stay float.

        Raises:
          QuantizeError: UNSUPPORTED_GRAPH with the node and TensorFlow's message if the network does not run.
        """
        switches = np.full(len(self._numbers), NO_OBSERVATION, np.int32)
        for name, position in positions.items():
            switches[self._numbers[name]] = position
        try:
            return self._session.run(self._outputs, dict(feed, **{_POSITIONS + ':0': switches}))
        except tf.errors.OpError as error:
            raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The network does not run{}: {}'.format(
                ' (node {!r})'.format(error.op.name) if error.op is not None else '', error.message.splitlines()[0])) from error


def output_errors(network: SwitchableNetwork, batches: Iterable[Feed], settings: Sequence[Positions]) -> np.ndarray:
    """The error of the outputs under each setting, float64 [settings].

    The squared difference to the float outputs over all batches, relative to the sum of squares of the float outputs, summed
    over the outputs. 0 for a setting that changes nothing, the greatest float64 for one that makes outputs NaN or infinite.

    Args:
      batches: feeds, {tensor name: array}.
      settings: for each {quantized tensor: position}; all others stay float.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH if the float outputs are not finite, or the network does not run.
    """
    differences, references = 0.0, 0.0
    for step, feed in enumerate(batches):
        exact = [np.asarray(value, np.float64) for value in network.outputs(feed, {})]
        if not all(np.isfinite(value).all() for value in exact):
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Not finite', 'The outputs of the float network are NaN or infinite in step {}; '
                'nothing can be compared with them. Move output_nodes before the node that makes them so.'.format(step))
        references += np.array([np.square(value).sum() for value in exact])
        differences += np.array([[np.square(value - reference).sum() for value, reference in
                                  zip(network.outputs(feed, positions), exact)] for positions in settings])
    found = (differences / np.where(references > 0, references, 1.0)).sum(axis=-1)
    return np.where(np.isfinite(found), found, np.finfo(np.float64).max)


def _switchable(graph_def: tf.GraphDef, plan: QuantPlan) -> tf.GraphDef:
    """The graph with a FixNeuron after each tensor that reads its position from a vector that is fed."""
    operands = {tensor.name: '{}:{}'.format(_SWITCHES, number) for number, tensor in enumerate(plan.tensors)}
    result = insert(graph_def, plan.tensors, lambda record: [kernel(
        'VaiFixNeuron', record.name, [record.tensor, operands[record.name]], record)])
    result.node.extend([editor.placeholder(_POSITIONS, tf.int32, [len(operands)]),
                        make_node('Unpack', _SWITCHES, [_POSITIONS], T=tf.int32, num=len(operands))])
    return result
