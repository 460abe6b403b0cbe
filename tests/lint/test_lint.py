"""Each rule of the lint on the smallest graph that obeys it and on graphs that break it, and nothing else."""
import pytest
import tensorflow as tf

from tests.lint.graphs import const, conv, conv_relu, fix, graph, int_const, node, placeholder, quantized
from vai_q_tf import QuantizeError, errors
from vai_q_tf.lint import form_rules, node_rules, position_rules, weight_rules
from vai_q_tf.lint.lint import RULES, lint, report

INPUT = [placeholder('in', 4, 4, 2), fix('in/aquant', 'in')]
SHAPES = [[None, 4, 4, 2]]


def without(attr, changed):
    """`changed` without one attr."""
    del changed.attr[attr]
    return changed


def with_library(graph_def):
    function = graph_def.library.function.add()
    function.signature.name = 'helper'
    return graph_def


def packed_axis():
    axis = int_const('axis')
    axis.attr['value'].tensor.tensor_content = b'\3\0\0\0'
    return axis


def concat(axis):
    return graph(INPUT, axis, node('cat', 'ConcatV2', 'in/aquant', 'in/aquant', 'axis'))


def parameter(op, count=1):
    """Graphs of `op` whose last `count` inputs are constants, and the last of them a computed tensor."""
    names = ['p{}'.format(index) for index in range(count)]
    consts = [int_const(name, 1) for name in names]
    computed = consts[:-1] + [int_const('raw', 1), node(names[-1], 'Neg', 'raw', _output_shapes=[[1]])]
    return (graph(INPUT, consts, node('op', op, 'in/aquant', *names)),
            graph(INPUT, computed, node('op', op, 'in/aquant', *names)))


OBEYING = {
    'input': graph(INPUT),
    'input with output shapes': graph(node('in', 'Placeholder', _output_shapes=SHAPES)),
    'input with an unknown shape and known output shapes': graph(
        node('in', 'Placeholder', shape=None, _output_shapes=SHAPES)),
    'input of rank 1': graph(placeholder('in')),
    'input of rank 2': graph(placeholder('in', 8)),
    'one tensor for two convolutions': graph(INPUT, conv('c', 'in/aquant'), conv('d', 'in/aquant')),
    'private attr': graph(INPUT, fix('f', 'in', _note='private')),
    'convolution': graph(INPUT, conv('c', 'in/aquant')),
    'depthwise': graph(INPUT, conv('c', 'in/aquant', 'DepthwiseConv2dNative')),
    'transposed': graph(INPUT, conv('c', 'in/aquant', 'Conv2DBackpropInput')),
    'dilated': graph(INPUT, int_const('crops', 0), conv('c', 'in/aquant', bias=False), quantized('b'),
                     node('batch', 'BatchToSpaceND', 'c', 'crops', 'crops'),
                     node('bias', 'BiasAdd', 'batch', 'b/wquant')),
    'dense, its weights behind an Identity': graph(
        INPUT, quantized('w'), node('read', 'Identity', 'w/wquant', _output_shapes=[[2, 2]]), quantized('b'),
        node('dense', 'MatMul', 'in/aquant', 'read'), node('bias', 'BiasAdd', 'dense', 'b/wquant')),
    'batch norm as Mul and Add': graph(
        INPUT, quantized('scale'), quantized('shift'), node('mul', 'Mul', 'in/aquant', 'scale/wquant'),
        node('add', 'AddV2', 'mul', 'shift/wquant')),
    'raw scale of an average pool': graph(
        INPUT, const('scale'), const('shift'), node('pool', 'AvgPool', 'in/aquant'),
        node('mul', 'Mul', 'pool', 'scale'), node('add', 'Add', 'mul', 'shift')),
    'arithmetic on shapes': graph(
        INPUT, int_const('two', 2), int_const('one', 1), node('shape', 'Shape', 'in/aquant', _output_shapes=[[4]]),
        node('mul', 'Mul', 'shape', 'two'), node('add', 'AddV2', 'mul', 'one')),
    'raw constant shared by float ops': graph(
        INPUT, const('k'), node('m', 'Maximum', 'in/aquant', 'k'), node('n', 'Maximum', 'm', 'k')),
    'one bias per convolution': graph(INPUT, conv('c', 'in/aquant'), conv('d', 'in/aquant')),
    'residual behind aquant': graph(INPUT, conv('c', 'in/aquant', bias=False), fix('c/aquant', 'c'),
                                    node('add', 'Add', 'c/aquant', 'in/aquant')),
    'Add as the bias of a convolution': graph(INPUT, conv('c', 'in/aquant', bias=False), quantized('b'),
                                              node('add', 'Add', 'c', 'b/wquant')),
    'leaky relu by hand': graph(INPUT, quantized('alpha'), node('mul', 'Mul', 'alpha/wquant', 'in/aquant'),
                                node('max', 'Maximum', 'mul', 'in/aquant')),
    'second output': graph(INPUT, node('s', 'Unpack', 'in2'), node('in2', 'Relu', 'in/aquant', _output_shapes=[[2, 4]]),
                           node('r', 'Relu', 's:1')),
    'unpack of known shape': graph(node('in', 'Placeholder', _output_shapes=[[1, 4, 4, 2]]), node('u', 'Unpack', 'in')),
    'unknown op with shapes': graph(INPUT, node('t', 'Tan', 'in/aquant', _output_shapes=SHAPES)),
    'concat': concat(int_const('axis', 3)),
    'mean': parameter('Mean')[0],
    'pad': parameter('Pad')[0],
    'transpose': parameter('Transpose')[0],
    'strided slice': parameter('StridedSlice', 3)[0],
}

# rule, graph that breaks it once, node it is broken at
BREAKING = [
    ('no-function-library', with_library(graph(INPUT)), ''),
    ('plain-inputs', graph(INPUT, node('r', 'Relu', 'in/aquant', '^in')), 'r'),
    ('plain-inputs', graph(INPUT, node('r', 'Relu', 'in/aquant:0')), 'r'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', gradient='clipped')), 'f'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', phase=2)), 'f'),
    ('fix-neuron-attrs', graph(INPUT, without('phase', fix('f', 'in'))), 'f'),
    ('fix-neuron-attrs', graph(INPUT, without('quantize_pos', fix('f', 'in'))), 'f'),
    ('fix-neuron-attrs', graph(INPUT, without('bit_width', fix('f', 'in'))), 'f'),
    ('placeholder-shape', graph(node('in', 'Placeholder')), 'in'),
    ('placeholder-shape', graph(node('in', 'Placeholder', shape=None)), 'in'),
    ('placeholder-shape', graph(placeholder('in', None, 4, 2)), 'in'),
    ('placeholder-shape', graph(placeholder('in', 4, 2)), 'in'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', mode=3)), 'f'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', method=-1)), 'f'),
    ('fix-neuron-attrs', graph(INPUT, fix('f', 'in', bit_width='8')), 'f'),
    ('no-batch-norm-op', graph(INPUT, node('bn', 'FusedBatchNorm', 'in')), 'bn'),
    ('no-batch-norm-op', graph(INPUT, node('bn', 'FusedBatchNormV3', 'in', _output_shapes=SHAPES)), 'bn'),
    ('shape-of-unknown-op', graph(INPUT, node('t', 'Tan', 'in/aquant')), 't'),
    ('shape-of-unknown-op', graph(INPUT, node('t', 'Tan', 'in/aquant', _output_shapes=[None])), 't'),
    ('shape-before-split', graph(INPUT, int_const('axis', 3), node('s', 'Split', 'axis', 'in/aquant', num_split=1)), 's'),
    ('shape-before-split', graph(INPUT, node('u', 'Unpack', 'in/aquant')), 'u'),
    ('constant-parameters', parameter('Mean')[1], 'op'),
    ('constant-parameters', parameter('Pad')[1], 'op'),
    ('constant-parameters', parameter('Transpose')[1], 'op'),
    ('constant-parameters', parameter('StridedSlice', 3)[1], 'op'),
    ('constant-parameters', concat(node('axis', 'Neg', 'in', _output_shapes=[[]])), 'cat'),
    ('concat-axis', concat(packed_axis()), 'cat'),
    ('quantized-weights', graph(INPUT, const('w'), node('c', 'Conv2D', 'in/aquant', 'w')), 'c'),
    ('quantized-weights', graph(INPUT, const('w'), node('read', 'Identity', 'w', _output_shapes=[[1]]),
                                fix('w/wquant', 'read'),
                                node('c', 'DepthwiseConv2dNative', 'in/aquant', 'w/wquant')), 'c'),
    ('quantized-weights', graph(INPUT, quantized('w'), node('read', 'Identity', 'w/wquant', _output_shapes=[[1]]),
                                int_const('sizes', 1),
                                node('c', 'Conv2DBackpropInput', 'sizes', 'read', 'in/aquant')), 'c'),
    ('quantized-bias', graph(INPUT, conv('c', 'in/aquant', bias=False), const('b'), node('bias', 'BiasAdd', 'c', 'b')),
     'bias'),
    ('bias-behind-weighted-op', graph(INPUT, conv('c', 'in/aquant', bias=False), fix('c/aquant', 'c'), quantized('b'),
                                      node('bias', 'BiasAdd', 'c/aquant', 'b/wquant')), 'bias'),
    ('bias-behind-weighted-op', graph(INPUT, int_const('crops', 0),
                                      node('batch', 'BatchToSpaceND', 'in', 'crops', 'crops'), quantized('b'),
                                      node('bias', 'BiasAdd', 'batch', 'b/wquant')), 'bias'),
    ('batch-norm-as-mul-and-add', graph(INPUT, quantized('scale'), quantized('b'),
                                        node('mul', 'Mul', 'in/aquant', 'scale/wquant'),
                                        node('bias', 'BiasAdd', 'mul', 'b/wquant')), 'bias'),
    ('batch-norm-as-mul-and-add', graph(INPUT, const('scale'), quantized('b'), node('mul', 'Mul', 'in/aquant', 'scale'),
                                        node('add', 'Add', 'mul', 'b/wquant')), 'mul'),
    ('batch-norm-as-mul-and-add', graph(INPUT, quantized('scale'), const('b'),
                                        node('mul', 'Mul', 'in/aquant', 'scale/wquant'),
                                        node('add', 'AddV2', 'b', 'mul')), 'add'),
    ('one-fix-neuron-per-constant', graph(INPUT, quantized('k'), fix('k/again', 'k')), 'k'),
    ('one-fix-neuron-per-constant', graph(INPUT, quantized('k'), node('m', 'Maximum', 'in/aquant', 'k')), 'k'),
    ('one-bias-add-per-bias', graph(INPUT, conv('c', 'in/aquant'), conv('d', 'in/aquant', bias=False),
                                    node('d/biasadd', 'BiasAdd', 'd', 'c/b/wquant')), 'c/b/wquant'),
    ('one-weighted-op-per-weight', graph(INPUT, conv('c', 'in/aquant', bias=False),
                                         node('d', 'Conv2D', 'in/aquant', 'c/w/wquant')), 'c/w/wquant'),
    ('quantized-before-residual-add', graph(INPUT, conv('c', 'in/aquant', bias=False),
                                            node('add', 'Add', 'c', 'in/aquant')), 'add'),
    ('quantized-before-residual-add', graph(INPUT, conv('c', 'in/aquant', 'DepthwiseConv2dNative', bias=False),
                                            node('add', 'AddV2', 'in/aquant', 'c')), 'add'),
]


@pytest.mark.parametrize('what', sorted(OBEYING))
def test_no_finding_on_an_obeying_graph(what):
    assert lint(OBEYING[what]) == []


@pytest.mark.parametrize('rule, breaking, where', BREAKING)
def test_a_breach_is_found_once_and_explained(rule, breaking, where):
    findings = lint(breaking)
    assert [(finding.rule, finding.node) for finding in findings] == [(rule, where)]
    assert len(findings[0].message.split('. ')) >= 2, 'what the compiler does, and what to change'
    assert rule in str(findings[0]) and (where or 'the graph') in str(findings[0])


def test_every_rule_is_broken_by_some_graph():
    assert {rule for rule, _, _ in BREAKING} == {*node_rules.RULES, *weight_rules.RULES}
    assert set(RULES) == {*node_rules.RULES, *weight_rules.RULES, *form_rules.RULES, *position_rules.RULES}


def test_the_graph_is_not_changed():
    for _, breaking, _ in BREAKING:
        before = breaking.SerializeToString(deterministic=True)
        lint(breaking)
        assert breaking.SerializeToString(deterministic=True) == before


def test_inputs_that_are_not_there_are_findings_and_not_exceptions():
    findings = lint(graph(node('c', 'Conv2D', 'gone', 'gone/w'), node('b', 'BiasAdd'), node('s', 'Split'),
                          node('cat', 'ConcatV2'), fix('f', 'gone')))
    assert {(finding.rule, finding.node) for finding in findings} == {
        ('no-split', 's'),
        ('quantized-weights', 'c'), ('quantized-bias', 'b'), ('bias-behind-weighted-op', 'b'),
        ('shape-before-split', 's'), ('constant-parameters', 'cat')}


def network(blocks):
    """Residual blocks, then pool, concat, pad, depthwise convolution, leaky relu, mean, dense and softmax."""
    nodes = INPUT + conv_relu('stem', 'in/aquant')
    last = 'stem/relu/aquant'
    for index in range(blocks):
        scope = 'block{}'.format(index)
        nodes += conv_relu(scope, last)
        nodes += conv(scope + '/out', scope + '/relu/aquant', bias=False)
        nodes += [fix(scope + '/out/aquant', scope + '/out'),
                  node(scope + '/add', 'AddV2', scope + '/out/aquant', last)]
        last = scope + '/add/aquant'
        nodes += [fix(last, scope + '/add')]
    nodes += [int_const('axis', 3), node('pool', 'MaxPool', last), node('cat', 'ConcatV2', 'pool', 'pool', 'axis'),
              fix('cat/aquant', 'cat')]
    nodes += [int_const('paddings', 0, 0, 1, 1, 1, 1, 0, 0), node('pad', 'Pad', 'cat/aquant', 'paddings')]
    nodes += conv('depthwise', 'pad', 'DepthwiseConv2dNative') + [node('leaky', 'LeakyRelu', 'depthwise/biasadd'),
                                                                  fix('leaky/aquant', 'leaky')]
    nodes += [int_const('axes', 1, 2), node('mean', 'Mean', 'leaky/aquant', 'axes'), const('scale'),
              node('mul', 'Mul', 'mean', 'scale'), fix('mul/aquant', 'mul')]
    nodes += quantized('dense/w') + quantized('dense/b')
    nodes += [node('dense', 'MatMul', 'mul/aquant', 'dense/w/wquant'),
              node('logits', 'BiasAdd', 'dense', 'dense/b/wquant'), fix('logits/aquant', 'logits'),
              node('softmax', 'Softmax', 'logits/aquant')]
    return graph(nodes)


def test_a_large_network_obeys():
    large = network(200)
    assert len(large.node) > 2000
    assert lint(large) == []


def test_all_breaches_of_a_large_network_are_found_in_graph_order():
    large = network(50)
    for changed in large.node:
        if changed.op == 'FixNeuron' and changed.name.endswith('/relu/aquant'):
            changed.attr['phase'].i = 2
    findings = lint(large)
    assert [finding.node for finding in findings] == ['stem/relu/aquant'] + [
        'block{}/relu/aquant'.format(index) for index in range(50)]
    assert {finding.rule for finding in findings} == {'fix-neuron-attrs'}


@pytest.mark.parametrize('strict', [False, True])
def test_a_report_is_a_warning_or_an_error(monkeypatch, strict):
    warnings = []
    monkeypatch.setattr(tf.compat.v1.logging, 'warning', lambda text, *values: warnings.append(text % values))
    assert report(graph(INPUT), strict) == [] and not warnings
    broken = graph(placeholder('in', None, 4, 4, 2), fix('in/aquant', 'in'), node('same', 'Relu', 'in/aquant', '^in'))
    assert lint(broken)
    if strict:
        with pytest.raises(QuantizeError, match='was not written: .*same') as raised:
            report(broken, strict)
        assert raised.value.code == errors.COMPILER_RULES and not warnings
    else:
        assert report(broken, strict) == lint(broken)
        text, = warnings
        assert text.splitlines() == ['The DPU compiler will not accept this model:'] + list(map(str, lint(broken)))
