"""Calibration: runs a float graph, quantized as it will be, over a few batches and observes which positions suit its tensors.

Weights, biases and constants are searched and quantized once, before the first batch. Every other tensor is searched in
every batch and quantized with what was found for that batch, so that what lies behind it sees quantized input. Only
counts of positions, and sums of squared errors where positions have to be aligned, are kept from one batch to the next.
"""
import collections
from typing import Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import tensor_util
from tqdm import tqdm

from vai_q_tf import errors, ops
from vai_q_tf.fixed_point import HISTOGRAM_BINS, POSITION_ZERO
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan import positions as rules
from vai_q_tf.ptq.constants import ERRORS_ABOVE, ConstantQuantizer, errors_below, is_symmetric
from vai_q_tf.ptq.sessions import session_config

_TRACK = 'vai_q_tf/track'


class Calibrated(NamedTuple):
    """observed: {name: Observation}. shapes: {node: [TensorShapeProto of each output]} of all nodes of the graph."""
    observed: Dict[str, rules.Observation]
    shapes: Dict[str, List]


def calibrate(graph_def, plan, config, feed, gpu_memory_fraction=None):
    """What config.calib_iter batches tell of the tensors of the plan.

    Args:
      graph_def: the float GraphDef that was annotated.
      plan: its QuantPlan.
      config: QuantizeConfig.
      feed: a function from the step to what is fed, {tensor name: array}.
      gpu_memory_fraction: see `session_config`.

    Returns:
      Calibrated.

    Raises:
      QuantizeError: MISSING_QUANTIZE_INFO for tensors that do not run; what `feed` raises.
    """
    network = CalibrationNetwork(graph_def, plan, config)
    observed = dict(network.constants)
    for name, (counts, table) in _run(network, config, feed, gpu_memory_fraction).items():
        observed[name] = rules.Observation(_most_frequent(counts), table)
    return Calibrated(observed, network.shapes())


class CalibrationNetwork:
    """The calibration graph of a plan, ready to be run.

    Attributes:
      graph: a tf.Graph in which constants are quantized and every other tensor of the plan is searched and quantized.
      fetches: {name of a tensor that is no constant: (position,) or (position, first position, errors), tensor names}.
      constants: {name of a tensor that is a constant: Observation}.
    """

    def __init__(self, graph_def, plan, config):
        ops.load_library()
        view = GraphView(graph_def)
        grouped = {name for group in rules.aligned(plan, config) for name in group} if config.align_rule != 'output' else ()
        self.constants, values = _search_constants(view, plan, config, grouped)
        computed = [record for record in plan.tensors if record.name not in self.constants]
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.import_graph_def(_calibration_graph(graph_def, computed, values, grouped, config), name='')
        self.fetches = {record.name: (record.name + '/position:0',) + (
            (record.name + '/errors:0', record.name + '/errors:1') if record.name in grouped else ()) for record in computed}
        self._names = view.names

    def shapes(self):
        """{node: [TensorShapeProto of each output]} of the float graph's nodes."""
        return {name: [output.shape.as_proto() for output in self.graph.get_operation_by_name(name).outputs]
                for name in self._names}


def _search_constants(view, plan, config, grouped):
    """({name: Observation}, {Const: quantized value}) of the tensors that are Consts read through their FixNeuron alone."""
    observed, values = {}, {}
    with ConstantQuantizer(config) as quantizer:
        for record in plan.tensors:
            if view.op(record.tensor) != 'Const' or set(view.consumers(record.tensor)) - set(record.consumers):
                continue
            value = tensor_util.MakeNdarray(view.attr(record.tensor, 'value').tensor)
            found = observed[record.name] = quantizer.search(record, value, record.name in grouped)
            values[record.tensor] = quantizer.quantize(value, found.position, record.bits, record.mode)
            if found.position == POSITION_ZERO:
                tf.logging.warning('%s has nothing but zeros', record.name)
    return observed, values


def _calibration_graph(graph_def, computed, values, grouped, config):
    """The graph with quantized constants, and with a search and a quantization behind every other tensor."""
    graph_def = editor.insert(editor.with_values(graph_def, values), computed,
                              lambda record: _observers(record, record.name in grouped, config))
    graph_def.node.extend([editor.constant(_TRACK, tf.bool, True)])
    return graph_def


def _observers(record, with_errors, config):
    position, symmetric = record.name + '/position', is_symmetric(record.mode, config)
    nodes = [tf.NodeDef(name=position, op='VaiSearchPosition', input=[record.tensor, _TRACK]),
             tf.NodeDef(name=record.name, op='VaiFixNeuron', input=[record.tensor, position])]
    nodes[0].attr['method'].i = record.method
    if with_errors:
        nodes.append(tf.NodeDef(name=record.name + '/errors', op='VaiPositionErrors', input=[record.tensor]))
        nodes[2].attr['below'].i, nodes[2].attr['above'].i = errors_below(record.bits), ERRORS_ABOVE
    for node in nodes:
        node.attr['bit_width'].i, node.attr['mode'].i, node.attr['symmetric'].b = record.bits, record.mode, symmetric
    return nodes


def _run(network, config, feed, gpu_memory_fraction):
    """{name: (counts of positions, table of errors or None)} over all batches."""
    tables = {name: [collections.Counter(), None] for name in network.fetches}
    with tf.Session(graph=network.graph, config=session_config(gpu_memory_fraction)) as session:
        for step in tqdm(range(config.calib_iter), desc='calibration', unit='batch'):
            for name, found in _fetch(session, network.fetches, feed(step), step).items():
                table = tables[name]
                table[0][int(found[0])] += 1
                if len(found) > 1 and found[1] != POSITION_ZERO:
                    errors_now = rules.error_table(int(found[1]), found[2])
                    table[1] = errors_now if table[1] is None else table[1] + errors_now
    for name, table in tables.items():
        if table[1] is None and len(network.fetches[name]) > 1:
            table[1] = np.zeros(HISTOGRAM_BINS)
    return tables


def _fetch(session, fetches, batch, step):
    try:
        return session.run(fetches, batch)
    except tf.errors.InvalidArgumentError as error:
        if 'does not have value' not in error.message:
            raise _failed(error, step) from error
    except tf.errors.OpError as error:
        raise _failed(error, step) from error
    idle = [name for name, fetch in fetches.items() if not _runs(session, fetch, batch)]
    raise errors.QuantizeError(
        errors.MISSING_QUANTIZE_INFO, 'Not found',
        'In step {} these FixNeurons did not run, because they are in a branch that is not taken: {}. Fix the condition before '
        'freezing the graph, or move output_nodes in front of it.'.format(step, ', '.join(idle)))


def _runs(session, fetch, batch):
    try:
        session.run(fetch, batch)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _failed(error, step):
    where = ' (node {!r})'.format(error.op.name) if error.op is not None else ''
    return errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Cannot run',
                                'Calibration step {} failed{}: {}'.format(step, where, error.message.splitlines()[0]))


def _most_frequent(counts):
    """The position with the most batches, the smallest of equal ones; POSITION_ZERO only if no batch had anything else."""
    seen = {position: count for position, count in counts.items() if position != POSITION_ZERO}
    return min(seen, key=lambda position: (-seen[position], position)) if seen else POSITION_ZERO


