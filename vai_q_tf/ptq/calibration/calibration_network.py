"""The calibration graph: every tensor of a plan is searched and quantized, constants once and for all."""
import collections

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.export.constants import ERRORS_ABOVE, ConstantQuantizer, errors_below
from vai_q_tf.export.fix_neuron_nodes import insert
from vai_q_tf.fixed_point import POSITION_ZERO
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import skip_clustering
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.ptq.calibration.counting import count_magnitudes, count_positions
from vai_q_tf.ptq.calibration.input_ranges import InputRanges
from vai_q_tf.ptq.calibration.not_finite import NotFinite, float_outputs

_TRACK = 'vai_q_tf/track'
_POSITIONS = 'vai_q_tf/positions'
_COUNTS = {'percentile': lambda record, x: count_positions(x, record.bits), 'entropy': lambda record, x: count_magnitudes(x)}


class CalibrationNetwork:
    """The calibration graph of a plan, ready to be run.

    Args:
      graph_def, plan, config: as in `calibrate`. By votes every tensor is searched and quantized before the next one. The other
        ways of config.positions_by observe the float network, of tensors of method 1 'mse' the errors, 'percentile' and
        'entropy' the counts. Errors of tensors that are to be aligned are measured anyway.

    Attributes:
      way: of config.positions_by.
      graph: a tf.Graph in which the tensors of the plan are observed.
      names: of the tensors that are no constants. measured: those of them whose errors are measured.
      chosen: the QuantTensors whose position `way` decides about, none for 'votes'.
      constants: {name of a tensor that is a constant: Observation}.
      not_finite: the NotFinite that watches these tensors, and the outputs that stay float.
      inputs: the InputRanges of the input nodes.
      fetches: tensor names of what `observations` reads; few, as the first run of a session takes long for many.
    """

    def __init__(self, graph_def, plan, config):
        ops.load_library()
        view = GraphView(graph_def)
        self.way = config.positions_by or 'votes'
        if self.way != 'votes':
            plan = _with_inputs(plan, config)
        measured = final_positions.measured(plan, config)
        self.constants, values = _search_constants(view, plan, measured, self.way == 'votes')
        computed = [record for record in plan.tensors if record.name not in self.constants]
        self.names = [record.name for record in computed]
        self.chosen = [record for record in computed if record.method == 1 and self.way != 'votes']
        if self.way == 'mse':
            measured = measured.union(record.name for record in self.chosen)
        self._windows = _windows(computed, measured)
        self.graph = tf.Graph()
        with self.graph.as_default():
            large_constants.import_graph_def(
                _calibration_graph(graph_def, computed, values, self._windows, self.way != 'votes'), name='')
            counts = [_COUNTS[self.way](record, self.graph.get_tensor_by_name(indexed_name(record.tensor)))
                      for record in self.chosen if self.way in _COUNTS]
            packed = [tf.stack(counts).name] if counts else []
            watched = {indexed_name(record.tensor): record.tensor for record in computed}
            self.not_finite = NotFinite(dict(watched, **float_outputs(view, plan)))
            self.inputs = InputRanges(computed)
        skip_clustering(self.graph.get_operation_by_name(_POSITIONS))
        self.fetches = [_POSITIONS + ':0', [[node + ':0' for node in _packs(size)] for size in self._windows], packed,
                        self.inputs.fetches, self.not_finite.fetches]
        self._nodes = view.names

    @property
    def measured(self):
        return [name for names in self._windows.values() for name in names]

    def observations(self, fetched):
        """({name: position}, {name: (first position, errors)}, {name: counts}) from the values of `fetches`."""
        positions, windows, packed, _, _ = fetched
        measured = {}
        for names, (first, errors_at) in zip(self._windows.values(), windows):
            measured.update(zip(names, zip(first, errors_at)))
        counts = {record.name: row for rows in packed for record, row in zip(self.chosen, rows)}
        return dict(zip(self.names, positions)), measured, counts

    @staticmethod
    def position(name):
        """The tensor with the position of a quantized tensor in the batch at hand."""
        return name + '/position:0'

    def shapes(self):
        """{node: [TensorShapeProto of each output]} of the float graph's nodes."""
        return {name: [output.shape.as_proto() for output in self.graph.get_operation_by_name(name).outputs]
                for name in self._nodes}


def _with_inputs(plan, config):
    """The plan in which the positions of inputs are chosen as those of others, unless the config asks for another method."""
    named = {node_name(entry.rpartition(':')[0]) for entry in config.nodes_method}
    return plan._replace(tensors=tuple(
        record._replace(method=1) if record.role == 'input' and config.method == 1 and node_name(record.tensor) not in named
        else record for record in plan.tensors))


def _search_constants(view, plan, measured, quantizes):
    """({name: Observation}, {Const: quantized value}) of the tensors that are Consts read through their FixNeuron alone.

    Without `quantizes` no values.
    """
    observed, values = {}, {}
    with ConstantQuantizer() as quantizer:
        for record in plan.tensors:
            if view.op(record.tensor) != 'Const':
                continue
            value = view.value(record.tensor)
            is_finite = np.isfinite(value).all()
            if not is_finite and record.role in ('weight', 'bias'):
                raise _not_finite(record, value)
            if set(view.consumers(record.tensor)) - set(record.consumers):
                continue
            found = observed[record.name] = quantizer.search(record, value, record.name in measured)
            if quantizes:
                values[record.tensor] = large_constants.kept(quantizer.quantize(
                    value, found.position, record.bits, record.mode, record.narrow_range))
            if not is_finite:
                tf.logging.warning('%s has NaN or infinity', record.tensor)
            elif found.position == POSITION_ZERO:
                tf.logging.warning('%s has nothing but zeros', record.name)
    return observed, values


def _not_finite(record, value):
    return errors.QuantizeError(
        errors.NOT_FINITE, 'Not finite',
        'The {} {!r} {} NaN or infinity in {} of {} elements. Freeze an earlier checkpoint if the training diverged; a batch '
        'norm that is folded into them may have a negative variance.'.format(
            *(('weights', record.tensor, 'have') if record.role == 'weight' else ('bias', record.tensor, 'has')),
            np.size(value) - np.isfinite(value).sum(), np.size(value)))


def _windows(computed, measured):
    """{length of the window of errors: names of the tensors for which it is measured}"""
    windows = collections.defaultdict(list)
    for record in computed:
        if record.name in measured:
            windows[errors_below(record.bits) + ERRORS_ABOVE + 1].append(record.name)
    return dict(windows)


def _calibration_graph(graph_def, computed, values, windows, stays_float):
    """The graph with quantized constants, and with a search and a quantization after every other tensor.

    stays_float: leaves the quantization away, so that all is searched on the float network.
    """
    measured = {name for names in windows.values() for name in names}
    graph_def = editor.with_values(graph_def, values)
    graph_def = insert(graph_def, computed, lambda record: _observers(record, record.name in measured, stays_float))
    nodes = [editor.constant(_TRACK, tf.bool, True),
             _pack(_POSITIONS, tf.int32, [record.name + '/position' for record in computed])]
    for size, names in windows.items():
        first, errors_at = _packs(size)
        nodes += [_pack(first, tf.int32, [name + '/errors' for name in names]),
                  _pack(errors_at, tf.float64, [name + '/errors:1' for name in names])]
    graph_def.node.extend(nodes)
    return graph_def


def _packs(size):
    """The nodes that have the first positions and the errors of all windows of a length."""
    return 'vai_q_tf/first_{}'.format(size), 'vai_q_tf/errors_{}'.format(size)


def _pack(name, dtype, inputs):
    node = tf.NodeDef(name=name, op='Pack', input=inputs)
    node.attr['T'].type, node.attr['N'].i = dtype.as_datatype_enum, len(inputs)
    return node


def _observers(record, with_errors, stays_float):
    position = record.name + '/position'
    nodes = [tf.NodeDef(name=position, op='VaiSearchPosition', input=[record.tensor, _TRACK])]
    if not stays_float:
        nodes.append(tf.NodeDef(name=record.name, op='VaiFixNeuron', input=[record.tensor, position]))
    nodes[0].attr['method'].i = record.method
    if with_errors:
        nodes.append(tf.NodeDef(name=record.name + '/errors', op='VaiPositionErrors', input=[record.tensor]))
        nodes[-1].attr['below'].i, nodes[-1].attr['above'].i = errors_below(record.bits), ERRORS_ABOVE
    for node in nodes:
        node.attr['bit_width'].i, node.attr['mode'].i, node.attr['symmetric'].b = record.bits, record.mode, record.narrow_range
    if stays_float:
        nodes.append(tf.NodeDef(name=record.name, op='Identity', input=[record.tensor]))
        nodes[-1].attr['T'].type = tf.float32.as_datatype_enum
    return nodes
