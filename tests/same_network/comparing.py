"""Takes a network both ways, from its frozen file and through training, and lists the differences of the two models.

`python -m tests.same_network.comparing [network ...]` prints a table; with names it shows every difference as well. A model
is 'renamed' if it differs in names only.
"""
import collections
import contextlib
import os
import sys
import tempfile
import zlib
from typing import Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import vai_q_tensorflow
from tests import quick_tensorflow
from tests.ptq.checking import unmeasured
from tests.same_network.building import OWN_VALUE
from tests.same_network.rewriting import rewritten_at_once
from tests.support import read_graph
from vai_q_tf import errors

BATCH, STEPS = 4, 3
WAYS = ('evaluation graph', 'training graph')
_TOLERANCE = 1e-5
_POSITIVE, _SMALL = ('gamma', 'moving_variance'), ('beta', 'moving_mean', 'bias', 'biases')


class Trained(NamedTuple):
    """The results of a training of STEPS steps, of which all but the first are frozen.

    models: {one of WAYS: the GraphDef deployed from it}. The other fields are outputs for one batch: of the training graph, of
    the evaluation graph, and of the model deployed from the latter.
    """
    models: Dict[str, tf.GraphDef]
    trained: List[np.ndarray]
    evaluated: List[np.ndarray]
    modelled: List[np.ndarray]


def from_file(build, directory, **fields):
    """The GraphDef of post-training quantization of the frozen network. fields: more of the QuantizeConfig."""
    with tf.Graph().as_default() as graph, _session() as session:
        outputs = _outputs(build, training=False)
        _initialise(session)
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), outputs)
        config = _config(graph, outputs, directory, calib_iter=2, **fields)
        with unmeasured():
            path = vai_q_tensorflow.quantize_frozen(frozen, lambda step: _batch(graph, step, 'x', 'x2'), config, skip_check=1)
    return read_graph(path)


def from_training(build, directory, rate=0., thorough=True, **fields):
    """A Trained of the network.

    rate: of learning; 0 leaves the parameters as they are. thorough: with gradients, and with TensorFlow's graph optimizers;
    else a step only updates the averages of batch norms, and graphs are `rewritten_at_once`. fields: of the QuantizeConfig.
    """
    with contextlib.ExitStack() as stack:
        if not thorough:
            stack.enter_context(rewritten_at_once())
        return _from_training(build, directory, rate, thorough, **fields)


def _from_training(build, directory, rate, thorough, **fields):
    prefix = os.path.join(directory, 'model')
    with tf.Graph().as_default() as graph:
        step = tf.train.get_or_create_global_step()
        outputs = _outputs(build, training=True)
        loss = tf.add_n([tf.reduce_mean(tf.square(tensor)) for tensor in _tensors(graph, outputs)]) if thorough else None
        fields = dict({'freeze_bn_step': 0, 'freeze_position_step': 1}, **fields)
        configs = {way: _config(graph, outputs, os.path.join(directory, way), **fields) for way in WAYS}
        vai_q_tensorflow.CreateQuantizeTrainingGraph(configs['training graph'])
        train = _train_op(loss, rate, step) if thorough else _update_op(graph, outputs, step)
        saver = tf.train.Saver()
        listener = vai_q_tensorflow.QuantizeCheckpointListener(configs['training graph'], saver=saver)
        listener.begin()
        with _session(thorough) as session:
            _initialise(session)
            for number in range(STEPS):
                session.run(train, _feed(graph, number))
            saver.save(session, prefix, STEPS)
            listener.after_save(session, STEPS)
            trained = session.run(_quantized(graph, outputs), _feed(graph, 100))
    with tf.Graph().as_default() as graph:
        assert _outputs(build, training=False) == outputs
        vai_q_tensorflow.CreateQuantizeEvaluationGraph(configs['evaluation graph'])
        with _session(thorough) as session:
            tf.train.Saver().restore(session, '{}-{}'.format(prefix, STEPS))
            evaluated = session.run(_quantized(graph, outputs), _feed(graph, 100))
        vai_q_tensorflow.CreateQuantizeDeployGraph('{}-{}'.format(prefix, STEPS), configs['evaluation graph'])
    models = {way: _only_model(config.output_dir) for way, config in configs.items()}
    with tf.Graph().as_default() as graph, _session(thorough) as session:
        tf.import_graph_def(_copy(models['evaluation graph']), name='')
        modelled = session.run(_quantized(graph, outputs), _feed(graph, 100))
    return Trained(models, trained, evaluated, modelled)


def before_training(build, directory, **fields):
    """The result of `in_float` for the training graph before the first step. fields: of the QuantizeConfig."""
    with tf.Graph().as_default() as graph, _session() as session:
        tf.train.get_or_create_global_step()
        outputs = _outputs(build, training=True)
        vai_q_tensorflow.CreateQuantizeTrainingGraph(_config(graph, outputs, directory, **fields))
        _initialise(session)
        return _with_changes(session, _quantized(graph, outputs))


def in_float(build, training):
    """The outputs of the float network for the first batch, and {name: the change of a variable that is not trainable}."""
    with tf.Graph().as_default() as graph, _session() as session:
        outputs = _outputs(build, training)
        _initialise(session)
        return _with_changes(session, _tensors(graph, outputs))


def _with_changes(session, tensors):
    feed, trainable = _feed(session.graph, 0), tf.trainable_variables()
    values = session.run(tensors, feed)
    variables = {variable.op.name: variable for variable in tf.global_variables() if variable not in trainable}
    before = session.run(variables)
    session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS), feed)
    return values, {name: value - before[name] for name, value in session.run(variables).items()}


def _train_op(loss, rate, step):
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        optimizer = tf.train.GradientDescentOptimizer(rate)
        gradients = [(_clipped(gradient), variable) for gradient, variable in optimizer.compute_gradients(loss)
                     if gradient is not None]
        return optimizer.apply_gradients(gradients, step)


def _update_op(graph, outputs, step):
    """A step with learning rate 0."""
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS) + _quantized(graph, outputs)):
        return tf.assign_add(step, 1).op


def _clipped(gradient):
    """Gradients of large values may be infinite."""
    return tf.where(tf.is_finite(gradient), tf.clip_by_value(gradient, -1., 1.), tf.zeros_like(gradient))


def unseen_batch(model):
    """{placeholder name: array} for a GraphDef, unseen in calibration and training."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(_copy(model), name='')
        return _batch(graph, 200, 'x', 'x2')


def differences(expected, got):
    """The differences of two models, in lines; [] if they are one network.

    Compares names, op types, inputs, attrs and constants. Positions, the directory of the files and batch sizes in noted shapes
    may differ, and the rounding of floats.
    """
    nodes, others = ({node.name: node for node in graph_def.node} for graph_def in (expected, got))
    lines = ['only in the first: {} ({})'.format(name, node.op) for name, node in nodes.items() if name not in others]
    lines += ['only in the second: {} ({})'.format(name, node.op) for name, node in others.items() if name not in nodes]
    for name, node in nodes.items():
        if name in others:
            lines += ['{} ({}): {}'.format(name, node.op, line) for line in _node_differences(node, others[name])]
    if expected.library != got.library:
        lines.append('the function libraries differ')
    return lines


def _node_differences(node, other):
    if node.op != other.op:
        yield 'is a {} in the second'.format(other.op)
    if list(node.input) != list(other.input):
        yield 'reads {} and {}'.format(list(node.input), list(other.input))
    attrs, others = _attrs(node), _attrs(other)
    for key in sorted(set(attrs) | set(others)):
        if key not in attrs or key not in others:
            yield 'attr {} only in the {}'.format(key, 'first' if key in attrs else 'second')
        elif attrs[key] != others[key]:
            yield '{} {} and {}'.format(key, attrs[key], others[key])
    if node.op == other.op == 'Const' and attrs['value'] == others['value']:
        yield from _constant_differences(*(tf.make_ndarray(each.attr['value'].tensor) for each in (node, other)))


def _attrs(node):
    """The attrs of a node to compare: {key: text}; of a constant its type and shape."""
    attrs = {key: value for key, value in node.attr.items() if key not in ('quantize_pos', 'output_dir')}
    texts = {key: _in_a_line(value) for key, value in attrs.items()}
    if node.op == 'Const':
        value = tf.make_ndarray(attrs['value'].tensor)
        texts['value'] = '{}{}'.format(value.dtype, list(value.shape))
    if '_output_shapes' in attrs:
        texts['_output_shapes'] = str(_shapes_without_batch(attrs['_output_shapes']))
    return texts


def _constant_differences(value, other):
    if value.dtype.kind != 'f':
        if not np.array_equal(value, other):
            yield 'constant {} and {}'.format(value.tolist(), other.tolist())
    elif value.size and not np.abs(value - other).max() <= _TOLERANCE * np.abs(value).max():
        yield 'values are up to {:.3g} apart, the greatest is {:.3g}'.format(
            np.abs(value - other).max(), np.abs(value).max())


def same_but_for_names(expected, got):
    """Whether two models have the same ops with the same attrs and connections."""
    numbers = {}
    return _numbered(expected, numbers) == _numbered(got, numbers)


def _numbered(graph_def, numbers):
    """The number of nodes of each kind; a kind is the expression that a node computes, down to placeholders and constants."""
    nodes, found = {node.name: node for node in graph_def.node}, {}

    def visit(name):
        if name not in found:
            inputs = [operand.partition(':') for operand in nodes[name].input]
            key = (nodes[name].op, tuple(sorted(_attrs(nodes[name]).items())),
                   tuple((visit(operand), index) for operand, _, index in inputs))
            found[name] = numbers.setdefault(key, len(numbers))
        return found[name]

    return collections.Counter(map(visit, nodes))


def _shapes_without_batch(attr):
    shapes = [tf.TensorShape(shape) for shape in attr.list.shape]
    return [None if shape.rank is None else ['batch'] * (shape.rank > 0) + shape.as_list()[1:] for shape in shapes]


def _in_a_line(message):
    return ' '.join(str(message).split())


def _outputs(build, training):
    """Builds the network; returns the names of its output nodes."""
    tf.set_random_seed(1)
    tf.keras.backend.set_learning_phase(int(training))
    outputs = build(training)
    return [output.op.name for output in (outputs if isinstance(outputs, list) else [outputs])]


def _tensors(graph, names):
    return [graph.get_tensor_by_name(name + ':0') for name in names]


def _quantized(graph, names):
    """The output tensors after quantization."""
    known = {op.name for op in graph.get_operations()}
    # A reader of an output of a rewritten graph gets the quantized tensor.
    return [tf.identity(tensor) for tensor in _tensors(
        graph, [name + '/aquant' if name + '/aquant' in known else name for name in names])]


def _inputs(graph, *names):
    """The shapes of the placeholders {name: shape}."""
    return {op.name: op.outputs[0].shape.as_list() for op in graph.get_operations()
            if op.type == 'Placeholder' and op.name.rpartition('/')[2] in (names or ('x', 'x2'))}


def _config(graph, outputs, directory, **fields):
    inputs = _inputs(graph)
    shapes = [[-1 if size is None else size for size in shape] for shape in inputs.values()]
    return vai_q_tensorflow.QuantizeConfig(list(inputs), outputs, shapes, output_dir=directory, **fields)


def _batch(graph, seed, *names):
    return {name: _random('{}/{}'.format(name, seed)).normal(size=[BATCH] + shape[1:]).astype(np.float32)
            for name, shape in _inputs(graph, *names).items()}


def _feed(graph, seed):
    return {name + ':0': value for name, value in _batch(graph, seed).items()}


def _random(name):
    return np.random.RandomState(zlib.crc32(name.encode()))


def _initialise(session):
    """Gives each variable that is not in OWN_VALUE a value that depends on its name and shape only."""
    kept, values = tf.get_collection(OWN_VALUE) + [tf.train.get_global_step()], {}
    for variable in tf.global_variables():
        if any(variable is other for other in kept):
            continue
        random, shape, kind = _random(variable.op.name), variable.shape.as_list(), variable.op.name.rpartition('/')[2]
        if kind in _POSITIVE:
            value = random.uniform(0.5, 1.5, shape)
        elif kind in _SMALL:
            value = random.normal(0., 0.3, shape)
        else:
            value = random.normal(0., np.sqrt(2. / np.prod(shape[:-1])), shape)
        values[variable] = value.astype(np.float32)
    initial = {variable.initializer.inputs[1]: value for variable, value in values.items()}
    assert len(initial) == len(values)
    session.run(tf.global_variables_initializer(), initial)


def _session(optimizers=False):
    return tf.Session(config=quick_tensorflow.one_thread(optimizers))


def _copy(graph_def):
    """Importing a GraphDef writes attrs into it."""
    return tf.GraphDef.FromString(graph_def.SerializeToString())


def _only_model(directory):
    name, = (name for name in os.listdir(directory) if name.startswith('quantize_eval_model_'))
    return read_graph(os.path.join(directory, name))


def _row(build, show):
    """The cells of a network in the table, and lines to show below."""
    with tempfile.TemporaryDirectory() as directory:
        results, lines = {}, []
        for name, function in (('file', from_file), ('trained', from_training)):
            try:
                results[name] = function(build, os.path.join(directory, name))
            except errors.QuantizeError as error:
                lines.append('{}: refused: {}'.format(name, _in_a_line(error)[:200 if not show else None]))
    models = dict(results['trained'].models) if 'trained' in results else {}
    cells = ['refused'] * len(WAYS)
    if len(results) == 2:
        found = {way: differences(results['file'], model) for way, model in models.items()}
        cells = ['same' if not found[way] else
                 'renamed' if same_but_for_names(results['file'], models[way]) else 'different' for way in WAYS]
        for way in WAYS if show else ():
            lines += ['{}: {}'.format(way, line) for line in found[way]]
    if 'file' in results:
        models['file'] = results['file']
    for name, model in models.items():
        lines += ['lint of {}: {}'.format(name, finding) for finding in vai_q_tensorflow.lint(model)]
    cells.append('clean' if len(models) == 3 and not any('lint of' in line for line in lines) else 'no')
    for first, second in (('trained', 'evaluated'), ('evaluated', 'modelled')) if 'trained' in results else ():
        pairs = zip(getattr(results['trained'], first), getattr(results['trained'], second))
        exact = all(np.array_equal(value, other) for value, other in pairs)
        cells.append('exact' if exact else 'no')
    return cells, lines


def main(names):
    from tests.same_network.networks import NETWORKS
    tf.logging.set_verbosity(tf.logging.ERROR)
    head = WAYS + ('lint', 'trained=evaluated', 'evaluated=model')
    print('| network | {} |'.format(' | '.join(head)))
    print('|' + ' --- |' * (len(head) + 1))
    counts = {}
    for name in names or NETWORKS:
        try:
            cells, lines = _row(NETWORKS[name], show=bool(names))
        except Exception as error:  # the table goes on with the next network
            cells, lines = ['error'] * len(head), ['{}: {}'.format(type(error).__name__, _in_a_line(error)[:200])]
        cells += ['-'] * (len(head) - len(cells))
        for column, cell in zip(head, cells):
            counts.setdefault(column, []).append(cell)
        print('\n'.join(['| {} | {} |'.format(name, ' | '.join(cells))] + ['    ' + line for line in lines]), flush=True)
    for column, cells in counts.items():
        print('{}: {}'.format(column, ', '.join('{} {}'.format(*count) for count in collections.Counter(cells).most_common())))


if __name__ == '__main__':
    main(sys.argv[1:])
