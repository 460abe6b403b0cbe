"""Each rule about the form of an op on the smallest graph that breaks it, and on its nearest neighbour that does not."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tests.lint.breaches import check_cases
from tests.lint.graphs import const, conv, fix, graph, int_const, node, placeholder, quantized
from vai_q_tf.lint.form_rules import RULES
from vai_q_tf.lint.lint import lint

INPUT = [placeholder('in', 4, 4, 2), fix('in/aquant', 'in', _output_shapes=[[None, 4, 4, 2]])]
MATRIX = [placeholder('in', 6), fix('in/aquant', 'in', _output_shapes=[[None, 6]])]


def stored(field, values, dims, kind=tf.float32, **others):
    """A Const with `values` in a repeated field."""
    value = tensor_pb2.TensorProto(dtype=kind.as_datatype_enum, **{field: values}, **others)
    value.tensor_shape.CopyFrom(tf.TensorShape(dims).as_proto())
    return graph(INPUT, node('k', 'Const', value=value), node('m', 'Maximum', 'in/aquant', 'k'))


def split(op, shape, **attrs):
    data = ('axis', 'r') if op == 'Split' else ('r',) if op == 'Unpack' else ('r', 'axis', 'axis')
    return graph(INPUT, node('r', 'Relu', 'in/aquant', _output_shapes=[shape]), int_const('axis', 3),
                 node('s', op, *data, **attrs))


def laid_out(layout):
    return graph(INPUT, conv('c', 'in/aquant', bias=False), node('pool', 'MaxPool', 'c', data_format=layout))


def dilated(*after):
    return graph(INPUT, int_const('crops', 0), conv('c', 'in/aquant', bias=False), quantized('b'),
                 node('batch', 'BatchToSpaceND', 'c', 'crops', 'crops'), *after)


def operand(op, *dims, quantize=True, other=True):
    constants = quantized('k', *dims) if quantize else [const('k', *dims)]
    reads = ('in/aquant', constants[-1].name)
    return graph(INPUT, constants, node('op', op, *(reads if other else reads[::-1])))


def leaky(op, scope='', source='in/aquant', quantize=False, negate='Neg', positive='Relu', swap=(), result=None):
    """relu(x) + a * relu(-x), or with Sub; swap: the ops, of the sum and of the Mul, that read the other way round."""
    nodes = [node(scope + 'pos', positive, 'in/aquant'), node(scope + 'neg', negate, source, _output_shapes=[[None, 4, 4, 2]]),
             node(scope + 'clip', 'Relu', scope + 'neg'), const('a'), fix('a/aquant', 'a')]
    product = ['a/aquant', scope + 'clip/q' if quantize else scope + 'clip']
    nodes.append(node(scope + 'mul', 'Mul', *(product[::-1] if 'Mul' in swap else product)))
    if quantize:
        nodes += [fix(scope + 'clip/q', scope + 'clip'), fix(scope + 'pos/q', scope + 'pos')]
    parts = [scope + 'pos/q' if quantize else scope + 'pos', scope + 'mul']
    return graph(INPUT, nodes, node(result or scope + 'y', op, *(parts[::-1] if op in swap else parts),
                                    _output_shapes=[[None, 4, 4, 2]]))


def padded(padding, op='Conv2D'):
    return graph(INPUT, quantized('w'), node('c', op, 'in/aquant', 'w/wquant', padding=padding))


def sliced(**masks):
    return graph(INPUT, int_const('b', 0, 1), int_const('e', 0, 2), int_const('s', 1, 1),
                 node('s', 'StridedSlice', 'in/aquant', 'b', 'e', 's', **masks))


def mean(before, *axes):
    return graph(before, int_const('axes', *axes), node('mean', 'Mean', 'in/aquant', 'axes'))


def dense(rows, width, result, back='Reshape', between=(), weights=None, **attrs):
    """A dense layer between a Reshape of [.., rows] to a matrix and one back to `result`."""
    weights = weights or [rows[-1] if rows[-1] == (width or rows[-1]) else width, 3]
    return graph(INPUT, node('r', 'Relu', 'in/aquant', _output_shapes=[rows]), int_const('to', -1, 2),
                 node('flat', 'Reshape', 'r', 'to', _output_shapes=[[None, width]]), fix('flat/aquant', 'flat'),
                 quantized('w', *weights), node('dense', 'MatMul', 'flat/aquant', 'w/wquant', **attrs), list(between),
                 node('back', back, between[-1].name if between else 'dense', 'to', _output_shapes=[result]))


def pack(**attrs):
    return graph(INPUT, node('a', 'Relu', 'in/aquant'),
                 node('p', 'Pack', 'a', 'a', _output_shapes=[[2, None, 4, 4, 2]], **attrs))


def packed(*parts):
    """A Pack without its type, of an integer and of the last of the parts."""
    return graph(list(parts), int_const('i', 1), node('p', 'Pack', 'i', parts[-1].name, _output_shapes=[[2]]))


def reshape(batch, *to, source='in/aquant', known=True, given=None):
    given = given or node('in', 'Placeholder', shape=(batch, 4, 4, 2))
    shapes = {'_output_shapes': [[batch, 4, 4, 2]]} if known else {}
    return graph(given, fix('in/aquant', 'in', **shapes), const('k', 4, 8), int_const('to', *to),
                 node('eight', 'Relu', 'in/aquant', _output_shapes=[[8, 4, 4, 2]]),
                 node('turned', 'Transpose', 'k', 'to', _output_shapes=[[8, 4]]), node('negated', 'Neg', 'k'),
                 node('r', 'Reshape', source, 'to'))


def softmax(cast, name='s/exp_poly/poly_approx/alpha_3', dtype=tf.bfloat16):
    alpha = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, half_val=[16000])
    return graph(INPUT, node(name, 'Const', value=alpha), node('r', 'Cast' if cast else 'Neg', name, _output_shapes=[[]]))


# rule: (graphs that break it once, node) and graphs that do not
CASES = {
    'constant-storage': (
        [(stored('float_val', [1, 2], [2]), 'k'), (stored('float_val', [1, 2], [3]), 'k'),
         (stored('int_val', [0, 1], [2], tf.int32), 'k'), (stored('half_val', [1, 0], [2], tf.bfloat16), 'k'),
         (stored('int64_val', [3, 4], [1, 2], tf.int64), 'k'), (stored('int_val', [3, 4], [2], tf.int16), 'k')],
        [stored('float_val', [1], [4]), stored('float_val', [1, 1], [2]), stored('float_val', [2], []),
         stored('int_val', [7], [1], tf.int32), stored('string_val', [b'a', b'b'], [2], tf.string),
         stored('float_val', [1, 2], [2], tensor_content=np.float32([1, 2]).tobytes())]),
    'no-split': (
        [(split('Split', [None, 4, 4, 2], num_split=2), 's'), (split('SplitV', [None, 4, 4, 2]), 's'),
         (split('Unpack', [None, 4]), 's')],
        [split('Split', [None, 4, 4, 2], num_split=1), split('SplitV', [1, 4, 4, 2]), split('Unpack', [4, 2])]),
    'channels-last': ([(laid_out('NCHW'), 'pool'), (laid_out('NCDHW'), 'pool'), (laid_out('NCHW_VECT_C'), 'pool')],
                      [laid_out('NHWC'), laid_out('NDHWC')]),
    'bias-after-batch-to-space': (
        [(dilated(), 'batch'), (dilated(node('r', 'Relu', 'batch')), 'batch'),
         (dilated(node('a', 'Add', 'batch', 'b/wquant')), 'batch'), (dilated(fix('q', 'batch')), 'batch'),
         (dilated(node('a', 'BiasAdd', 'c', 'batch')), 'batch')],
        [dilated(node('a', 'BiasAdd', 'batch', 'b/wquant'))]),
    'rank-of-operand': (
        [(operand('Add', 1, 1, 2), 'op'), (operand('Mul', 1, 1, 2), 'op'), (operand('AddV2', 4, 4, 2), 'op'),
         (operand('Mul', 4, 4, 2, quantize=False), 'op'), (operand('Add', 1, 1, 2, other=False), 'op')],
        [operand('Add', 2), operand('Mul', 1, 1, 1, 2), operand('AddV2', 1, 2), operand('Mul'), operand('Maximum', 1, 1, 2)]),
    'leaky-relu-of-parts': (
        [(leaky('Sub'), 'y'), (leaky('Add'), 'y'), (leaky('Sub', quantize=True), 'y'),
         (leaky('AddV2', swap=['AddV2']), 'y'), (leaky('Sub', swap=['Mul']), 'y'), (leaky('Sub', 'prelu/', result='y'), 'y')],
        [leaky('Sub', 'prelu/'), leaky('Sub', swap=['Sub']), leaky('Sub', positive='Abs'), leaky('Sub', source='pos'),
         leaky('Sub', negate='Abs')]),
    'no-explicit-padding': ([(padded('EXPLICIT'), 'c')], [padded('SAME'), padded('VALID')]),
    'no-ellipsis': ([(sliced(ellipsis_mask=1), 's'), (sliced(ellipsis_mask=4, begin_mask=1), 's')],
                    [sliced(ellipsis_mask=0), sliced(begin_mask=3), sliced()]),
    'no-mean-of-rows': ([(mean(MATRIX, 1), 'mean'), (mean(MATRIX, -1), 'mean'), (mean(MATRIX, 0, 1), 'mean')],
                        [mean(MATRIX, 0), mean(INPUT, 1, 2), mean(INPUT, -1)]),
    'dense-on-rank-4': (
        [(dense([None, 4, 4, 2], 2, [None, 4, 4, 3]), 'dense'), (dense([None, 4, 4, 2], None, [None, 4, 4, 3]), 'dense'),
         (dense([None, 4, 4, 2], 2, [None, 4, 4, 3], between=quantized('b') + [
             node('bias', 'BiasAdd', 'dense', 'b/wquant'), fix('bias/aquant', 'bias')]), 'dense'),
         (dense([None, 4, 4, 2], 2, [None, 4, 4, 3], between=quantized('b') + [
             node('bias', 'Add', 'b/wquant', 'dense')]), 'dense'),
         (dense([None, 4, 4, 2], 2, [None, 4, 4, 3], weights=[3, 2], transpose_b=True), 'dense')],
        [dense([None, 4, 2], 2, [None, 4, 3]), dense([None, 4, 2], 2, [None, 2, 2, 3]),
         dense([None, 4, 4, 2], 2, [None, 16, 3]), dense([None, 4, 4, 2], 32, [None, 1, 1, 3]),
         dense([None, 4, 4, 2], 32, [None, 4, 4, 2], weights=[2, 32], transpose_b=True),
         dense([None, 4, 4, 2], 32, [None, 4, 4, 2], weights=[32, 2], transpose_b=False),
         dense([None, 4, 4, 2], 2, [None, 4, 4, 3], 'Relu'), graph(
             list(dense([None, 4, 4, 2], 2, [None, 4, 4, 3], between=quantized('b') + [
                 node('bias', 'BiasAdd', 'dense', 'b/wquant')]).node), node('other', 'Relu', 'dense'))]),
    'no-pack-of-floats': ([(pack(T=tf.float32), 'p'), (pack(T=tf.bfloat16), 'p'), (pack(T=tf.float16), 'p'),
                           (pack(T=tf.float64), 'p'), (packed(const('k')), 'p'), (packed(*quantized('k')), 'p'),
                           (graph(INPUT, node('p', 'Pack', 'in/aquant', _output_shapes=[[1]])), 'p')],
                          [pack(T=tf.int32), pack(), packed(int_const('k', 1))]),
    'no-identity-n': ([(graph(INPUT, node('i', 'IdentityN', 'in/aquant', _output_shapes=[[None, 4]])), 'i')],
                      [graph(INPUT, node('i', 'Identity', 'in/aquant', _output_shapes=[[None, 4]]))]),
    'batch-in-reshape': (
        [(reshape(None, 8, 32), 'r'), (reshape(None, 8, -1), 'r'), (reshape(None, 8, 32, known=False), 'r'),
         (reshape(None, 8, 32, known=False, given=node('in', 'Placeholder')), 'r')],
        [reshape(None, -1, 32), reshape(None, 1, 32), reshape(8, 8, 32), reshape(None, 2, 16, source='k'),
         reshape(8, 8, 32, known=False), reshape(None, 2, 16, source='turned'),
         reshape(None, 2, 16, source='negated'), reshape(None, 8, 32, source='eight'),
         reshape(8, 8, 32, known=False, given=node('in', 'Placeholder', _output_shapes=[[8, 4, 4, 2]]))]),
    'softmax-constants': (
        [(softmax(False), 's/exp_poly/poly_approx/alpha_3'), (softmax(False, 's/add/ones'), 's/add/ones')],
        [softmax(True), softmax(True, 's/add/ones'), softmax(False, 's/add/others'), softmax(False, dtype=tf.float16)]),
}


@pytest.mark.parametrize('rule', sorted(RULES))
def test_a_breach_is_found_once_and_its_neighbours_are_not(rule):
    check_cases(CASES, RULES, rule)


@pytest.mark.parametrize('breach, advice', [
    (padded('EXPLICIT'), 'Use VALID, and a Pad before it.'),
    (padded('EXPLICIT', 'Conv2DBackpropInput'), 'Use VALID, and a StridedSlice after it that cuts the borders.'),
    (laid_out('NCHW'), 'Build the network with NHWC.'), (laid_out('NCDHW'), 'Build the network with NDHWC.'),
    (laid_out('NCHW_VECT_C'), 'Build the network with the channels last.'), (reshape(None, 8, 32), 'Write -1 in its place.'),
    (reshape(None, 8, -1), 'Write -1 in its place, and a number in place of the -1 that is there.')])
def test_what_to_do_depends_on_the_op(breach, advice):
    message, = (finding.message for finding in lint(breach) if finding.rule in RULES)
    assert message.endswith(advice)


def test_a_shape_of_words_is_no_shape():
    words = node('to', 'Const', value=tf.make_tensor_proto(['8', '32']))
    findings = lint(graph(INPUT, words, node('r', 'Reshape', 'in/aquant', 'to')))
    assert not [finding for finding in findings if finding.rule in RULES]
