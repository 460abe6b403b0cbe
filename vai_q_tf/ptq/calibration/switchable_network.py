"""A float network with a switch at every tensor of a plan: quantized at any position, or left as it is, without a new graph."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.export.fix_neuron_nodes import insert
from vai_q_tf.fixed_point import NO_OBSERVATION
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config, skip_clustering

_POSITIONS = 'vai_q_tf/positions'
_SWITCHES = 'vai_q_tf/switches'


class SwitchableNetwork:
    """A session with the network; a context manager, which closes it.

    With the final positions of all tensors it computes what the quantized model does, without any what the float graph does,
    both to the bit.

    Args:
      graph_def: the float GraphDef that was annotated, see `runnable`.
      plan: its QuantPlan, from which the tensors have their bits.
      gpu_memory_fraction: see `session_config`.
    """

    def __init__(self, graph_def, plan, gpu_memory_fraction=None):
        ops.load_library()
        self._numbers = {tensor.name: number for number, tensor in enumerate(plan.tensors)}
        graph = tf.Graph()
        with graph.as_default():
            large_constants.import_graph_def(_switchable(graph_def, plan), name='')
        skip_clustering(graph.get_operation_by_name(_SWITCHES))
        quantized = {tensor.tensor: tensor.name for tensor in plan.tensors}
        self._outputs = [quantized.get(name, name) + ':0' for name in plan.output_nodes]
        self._session = large_constants.session(graph, session_config(gpu_memory_fraction))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()

    def outputs(self, feed, positions):
        """The values of the plan's output nodes, a list of arrays: after their FixNeurons where they have one.

        Args:
          feed: {tensor name: array}.
          positions: {name of a tensor of the plan: its position in fractional bits}; tensors that are not in it stay float.

        Raises:
          QuantizeError: UNSUPPORTED_GRAPH with the node and TensorFlow's message where the network does not run.
        """
        switches = np.full(len(self._numbers), NO_OBSERVATION, np.int32)
        for name, position in positions.items():
            switches[self._numbers[name]] = position
        try:
            return self._session.run(self._outputs, dict(feed, **{_POSITIONS + ':0': switches}))
        except tf.errors.OpError as error:
            raise errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run', 'The network does not run{}: {}'.format(
                ' (node {!r})'.format(error.op.name) if error.op is not None else '', error.message.splitlines()[0])) from error


def output_errors(network, batches, settings):
    """What each of the `settings` does to the outputs of a SwitchableNetwork, float64 [settings].

    The squared difference to the float outputs, summed over all batches and divided by the sum of squares of the float outputs;
    with several outputs the sum of these. 0 where nothing changes, the greatest float64 where outputs become NaN or infinite.

    Args:
      batches: an iterable of feeds, {tensor name: array}.
      settings: a list of {name of a tensor: position}; what is not in it stays float.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH where the float outputs are not finite, or the network does not run.
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


def _switchable(graph_def, plan):
    """The graph in which a FixNeuron after each tensor takes its position from a vector that is fed."""
    operands = {tensor.name: '{}:{}'.format(_SWITCHES, number) for number, tensor in enumerate(plan.tensors)}

    def fix_neuron(record):
        node = tf.NodeDef(name=record.name, op='VaiFixNeuron', input=[record.tensor, operands[record.name]])
        node.attr['bit_width'].i, node.attr['mode'].i, node.attr['symmetric'].b = record.bits, record.mode, record.narrow_range
        return [node]
    result = insert(graph_def, plan.tensors, fix_neuron)
    unpack = tf.NodeDef(name=_SWITCHES, op='Unpack', input=[_POSITIONS])
    unpack.attr['T'].type, unpack.attr['num'].i = tf.int32.as_datatype_enum, len(operands)
    result.node.extend([editor.placeholder(_POSITIONS, tf.int32, [len(operands)]), unpack])
    return result
