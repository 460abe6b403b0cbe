"""Graphs that obey all rules of lint: the smallest of each kind, and a network of any size."""
from tests.lint.graphs import const, conv, conv_relu, fix, graph, int_const, node, placeholder, quantized

INPUT = [placeholder('in', 4, 4, 2), fix('in/aquant', 'in')]


SHAPES = [[None, 4, 4, 2]]


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
    'dense, its weights before an Identity': graph(
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
    'residual after aquant': graph(INPUT, conv('c', 'in/aquant', bias=False), fix('c/aquant', 'c'),
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
