"""Each kind of damage is reported with its node; TensorFlow refuses it, too; no graph that it accepts is refused."""
import os
import random

import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import function

from tests.fuzz.damage.graph_mutations import damage_graph
from vai_q_tf import errors, ops
from vai_q_tf.graph.checks.damage import check_nodes


def _graph_def():
    """Ops with attrs and inputs of every kind: lists, numbers of inputs, allowed values, minima, loops, functions."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2, 8, 8, 3], 'x')
        weights = tf.constant(0.5, shape=[3, 3, 3, 4], name='weights')
        conv = tf.nn.conv2d(x, weights, 1, 'SAME', name='conv')
        parts = tf.split(conv, 2, axis=3, name='split')
        tf.concat([parts[1], parts[0]], 3, name='concat')
        with tf.control_dependencies([conv]):
            tf.identity_n([conv, tf.constant([1, 2], name='numbers')], name='both')
        tf.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.constant(0)], name='loop')
        tf.cast(conv, tf.float16, name='cast')
        tf.constant(1 + 2j, name='complex')

        @tf.function
        def double(value):
            return value + value
        tf.identity(double(conv), name='doubled')

        @function.Defun(tf.float32, func_name='Half')
        def half(value):
            return value / 2
        tf.identity(half(conv, name='half'), name='halved')
        tf.assign(tf.Variable([1., 2.], use_resource=False, name='variable'), [3., 4.], name='assign')
        graph_def = graph.as_graph_def()
    call = next(node for node in graph_def.node if node.op.endswith('PartitionedCall'))
    _node(graph_def, 'doubled').input[:] = ['double']
    call.name = 'double'
    return graph_def


def _node(graph_def, name):
    return next(node for node in graph_def.node if node.name == name)


def _tensor(graph_def, name):
    return _node(graph_def, name).attr['value'].tensor


def _read(name, *references):
    def damage(graph_def):
        del _node(graph_def, name).input[:]
        _node(graph_def, name).input.extend(references)
    return damage


def _attr(name, key, **value):
    return lambda graph_def: _node(graph_def, name).attr[key].CopyFrom(tf.AttrValue(**value))


def _set(place, field, value):
    return lambda graph_def: setattr(place(graph_def), field, value)


DAMAGE = [
    ('two nodes', _set(lambda g: _node(g, 'both'), 'name', 'conv'), "Two nodes in the graph have the name 'conv'"),
    ('no node', _read('conv', 'x', 'wights'), "'conv' in the graph reads 'wights', which is not in the graph"),
    ('no control node', _read('conv', 'x', 'weights', '^nobody'), "'conv' .*reads '\\^nobody', which is not in the graph"),
    ('no reference', _read('conv', 'x:a', 'weights'), "'conv' .*reads 'x:a', which is not a reference"),
    ('two indices', _read('conv', 'x:0:0', 'weights'), "'conv' .*reads 'x:0:0', which is not a reference"),
    ('negative index', _read('conv', 'x:-1', 'weights'), "'conv' .*reads 'x:-1', which is not a reference"),
    ('nothing', _read('conv', '', 'weights'), "'conv' .*reads '', which is not a reference"),
    ('huge index', _read('conv', 'x:99999999999', 'weights'), "'conv' .*reads 'x:99999999999', which is not a reference"),
    ('no such output', _read('concat', 'split:2', 'split', 'concat/axis'), "reads 'split:2'; that node has 2 outputs"),
    ('control first', _read('conv', '^x', 'x', 'weights'), "'conv' .*has a control input before the last of its inputs"),
    ('one input', _read('conv', 'x'), "'conv' .*reads 1 tensors; the op Conv2D with its attrs has 2 inputs"),
    ('three inputs', _read('conv', 'x', 'weights', 'x'), "'conv' .*reads 3 tensors; the op Conv2D with its attrs has 2 inputs"),
    ('types', _read('conv', 'x', 'split/split_dim'), "'conv' .*reads 'split/split_dim', which is int32, as float32"),
    ('listed types', _read('both', 'conv', 'x'), "'both' .*reads 'x', which is float32, as int32"),
    ('number of inputs', _attr('concat', 'N', i=3), "'concat' .*reads 3 tensors; the op ConcatV2 with its attrs has 4 inputs"),
    ('less than the minimum', _attr('concat', 'N', i=1), "'concat' .*has an attr 'N' of 1, less than 2"),
    ('empty list', _attr('both', 'T', list=tf.AttrValue.ListValue()), "'both' .*has an attr 'T' of 0 values, less than 1"),
    ('list of another kind', _attr('both', 'T', list=tf.AttrValue.ListValue(i=[1, 3])), "'both' .*attr 'T' of the kind 'list'"),
    ('kind', _attr('conv', 'padding', i=1), "'conv' .*has an attr 'padding' of the kind 'i'; the op Conv2D has 'string'"),
    ('no value', _attr('conv', 'padding'), "'conv' .*has an attr 'padding' of the kind None; the op Conv2D has 'string'"),
    ('value', _attr('conv', 'padding', s=b'SOME'), "'conv' .*'padding' with a value, 'SOME', that the op Conv2D does not"),
    ('type', _attr('conv', 'T', type=3), "'conv' .*'T' with a value, int32, that the op Conv2D does not"),
    ('no type', _attr('cast', 'DstT', type=0), "'cast' .*has an attr 'DstT' with a type that TensorFlow .* does not have"),
    ('reference type', _attr('cast', 'DstT', type=101), "'cast' .*has an attr 'DstT' with a type that"),
    ('missing attr', lambda g: _node(g, 'conv').attr.pop('strides'), "'conv' .*lacks the attr 'strides' of the op Conv2D"),
    ('cycle', _read('conv', 'concat', 'weights'), "The node '(conv|split|concat)' in the graph depends on itself"),
    ('cycle of controls', _read('weights', '^concat'), "The node '(weights|conv|split|concat)' in the graph depends on itself"),
    ('axis', lambda g: _tensor(g, 'concat/axis').int_val.__setitem__(0, 2**31 - 1), "'concat' .*along the axis 2147483647"),
    ('colocation', _attr('conv', '_class', list=tf.AttrValue.ListValue(s=[b'loc:@w\xaf'])), "'conv' .*of b'loc:@w.*not text"),
    ('function', _read('half', '^x'), "'half' .*reads 0 tensors; the op Half with its attrs has 1 inputs"),
    ('call', _read('double', '^x'), "'double' .*reads 0 tensors; .* has 1 inputs"),
]
# TensorFlow finds these, or aborts, when it needs the value.
CONSTANTS = [
    ('type of a constant', _attr('numbers', 'dtype', type=9), "The constant 'numbers' .*has a value whose type is not"),
    ('content', _set(lambda g: _tensor(g, 'numbers'), 'tensor_content', b'1234567'), "'numbers' .*size does not fit its shape"),
    ('more sizes', _set(lambda g: _tensor(g, 'numbers').tensor_shape.dim[0], 'size', 3), r"'numbers' .*fit its shape, \[3\]"),
    ('more values', lambda g: _tensor(g, 'weights').float_val.extend([1.] * 108), "'weights' .*size does not fit its shape"),
    ('complex', lambda g: _tensor(g, 'complex').dcomplex_val.extend([1.] * 2), "'complex' .*size does not fit its shape"),
    ('negative size', _set(lambda g: _tensor(g, 'numbers').tensor_shape.dim[0], 'size', -1), "'numbers' .*without a shape"),
    ('no shape', _set(lambda g: _tensor(g, 'weights').tensor_shape, 'unknown_rank', True), "'weights' .*without a shape"),
]


def _tensorflow_accepts(graph_def):
    """Whether TensorFlow imports the graph, tried in a child process, because some damage aborts it."""
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with tf.Graph().as_default():
                tf.import_graph_def(graph_def, name='')
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def test_a_sound_graph_is_accepted():
    graph_def = _graph_def()
    _node(graph_def, 'conv').attr['explicit_paddings'].CopyFrom(tf.AttrValue())  # an empty list, too
    empty = graph_def.node.add(name='empty', op='Const')
    empty.attr['dtype'].type = empty.attr['value'].tensor.dtype = 1
    empty.attr['value'].tensor.tensor_shape.dim.add(size=0)
    empty.attr['value'].tensor.float_val.append(0)  # as TensorFlow's tf.zeros
    check_nodes(graph_def)
    assert _tensorflow_accepts(graph_def)


@pytest.mark.parametrize('name, damage, message', DAMAGE + CONSTANTS)
def test_damage(name, damage, message):
    graph_def = _graph_def()
    damage(graph_def)
    with pytest.raises(errors.QuantizeError, match=message) as caught:
        check_nodes(graph_def)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and caught.value.detail.endswith('; export the graph anew.')
    assert (name, damage, message) in CONSTANTS or not _tensorflow_accepts(graph_def)


@pytest.mark.parametrize('damage, message', [
    (_attr('concat', 'N', i=2**31 - 1), "'concat' in the graph has 2147483647 inputs by its attrs, more than 65536"),
    (_attr('split', 'num_split', i=2**31 - 1), "'split' in the graph has 2147483647 outputs by its attrs, more than 65536"),
    (_set(lambda g: _tensor(g, 'weights').tensor_shape.dim[0], 'size', 2**40), "'weights' .* has a value of .* bytes")])
def test_damage_that_would_take_unbounded_time_or_memory(damage, message):
    graph_def = _graph_def()
    damage(graph_def)
    with pytest.raises(errors.QuantizeError, match=message):
        check_nodes(graph_def)


def test_a_node_downstream_of_a_cycle_is_not_the_one_that_is_named():
    waits = {'first': '^second', 'second': '^a', 'a': '^b', 'b': '^a'}
    nodes = [tf.NodeDef(name=name, op='NoOp', input=[reference]) for name, reference in waits.items()]
    with pytest.raises(errors.QuantizeError, match="The node '(a|b)' in the graph depends on itself"):
        check_nodes(tf.GraphDef(node=nodes))


def test_ops_unknown_to_tensorflow():
    graph_def = _graph_def()
    graph_def.node.add(name='own', op='OpOfAUser', input=['conv:0', '^x'])
    graph_def.node.add(name='reader', op='Relu', input=['own:7']).attr['T'].type = 1
    check_nodes(graph_def, 'the model')
    graph_def.node[-2].input[0] = 'nobody'
    with pytest.raises(errors.QuantizeError, match="'own' in the model reads 'nobody'"):
        check_nodes(graph_def, 'the model')


def test_no_graph_that_tensorflow_accepts_is_refused():
    refused = 0
    for seed in range(60):
        graph_def = _graph_def()
        damage_graph(graph_def, random.Random(seed))
        try:
            check_nodes(graph_def)
        except errors.QuantizeError as error:
            refused += 1
            if 'The constant' not in error.detail and 'by its attrs' not in error.detail:
                assert not _tensorflow_accepts(graph_def), 'seed {}: {}'.format(seed, error)
    assert 12 < refused < 54


def test_fix_neurons_that_lack_attrs():
    """Other quantizers write them; `update` adds the attrs."""
    ops.load_library()
    graph_def = _graph_def()
    graph_def.node.add(name='aquant', op='FixNeuron', input=['conv'])
    check_nodes(graph_def)
