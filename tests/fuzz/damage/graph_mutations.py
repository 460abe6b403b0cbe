"""Damages a GraphDef semantically: inputs, op types, attrs and constants."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.fuzz.damage.mutations import damage_message

# Op types of the user guide, and related ones.
_OPS = ('Abs', 'Add', 'AddN', 'AddV2', 'ArgMax', 'AvgPool', 'BatchToSpaceND', 'BiasAdd', 'Cast', 'Concat', 'ConcatV2', 'Const',
        'Conv2D', 'Conv2DBackpropInput', 'DepthToSpace', 'DepthwiseConv2dNative', 'Div', 'Enter', 'ExpandDims',
        'FakeQuantWithMinMaxArgs', 'FixNeuron', 'FusedBatchNorm', 'FusedBatchNormV3', 'Identity', 'IdentityN', 'LeakyRelu',
        'MatMul', 'Max', 'MaxPool', 'Maximum', 'Mean', 'Merge', 'Minimum', 'MirrorPad', 'Mul', 'Neg', 'NoSuchOp', 'Pack', 'Pad',
        'PadV2', 'Placeholder', 'PlaceholderWithDefault', 'QuantizeV2', 'RealDiv', 'Relu', 'Relu6', 'Reshape', 'ResizeBilinear',
        'ResizeNearestNeighbor', 'Rsqrt', 'Shape', 'Sigmoid', 'Slice', 'Softmax', 'SpaceToBatchND', 'Split', 'Sqrt', 'Square',
        'Squeeze', 'StridedSlice', 'Sub', 'Sum', 'Switch', 'Tanh', 'Transpose', 'VariableV2', 'VarHandleOp')
_SIZES = (0, 1, -1, 2, 3, 2**31 - 1, 2**40)


def damage_graph(graph_def, random):
    """Makes one to three changes, mostly one."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if not graph_def.node:
            return
        node = random.choice(graph_def.node)
        random.choice(_CHANGES)(graph_def, node, random)


def _generic(graph_def, node, random):
    damage_message(node if random.random() < .9 else graph_def, random)


def _rewire(graph_def, node, random):
    if node.input:
        other = random.choice(graph_def.node).name
        place = random.randrange(len(node.input))
        node.input[place] = random.choice((
            other, other, other, node.name, other + ':0', other + ':1', '^' + other, node.input[place] + ':1', '', 'gone', ':',
            other + ':x', '^', other + ':-1', other + ':99999999999'))


def _more_inputs(graph_def, node, random):
    other = random.choice(graph_def.node).name
    node.input.append(random.choice((other, '^' + other, node.name)))


def _swap_inputs(graph_def, node, random):
    inputs = list(node.input)
    random.shuffle(inputs)
    node.input[:] = inputs


def _other_op(graph_def, node, random):
    node.op = random.choice(_OPS)


def _other_type(graph_def, node, random):
    types = [key for key in sorted(node.attr) if node.attr[key].WhichOneof('value') == 'type']
    if types:
        node.attr[random.choice(types)].type = random.choice((
            tf.float16, tf.bfloat16, tf.float64, tf.int32, tf.int64, tf.uint8, tf.string, tf.bool, tf.complex64, tf.qint8,
            tf.resource, tf.int8)).as_datatype_enum


def _drop(graph_def, node, random):
    graph_def.node.remove(node)


def _twice(graph_def, node, random):
    graph_def.node.add().CopyFrom(node)


def _rename(graph_def, node, random):
    node.name = random.choice((random.choice(graph_def.node).name, node.name + '/aquant', node.name + '/', '', '_x', '/a',
                               'a b', node.name.upper(), node.name + '_1', '../../' + node.name, 'x' * 300, '\u00e9'))


def _move(graph_def, node, random):
    copy = tf.NodeDef.FromString(node.SerializeToString())
    graph_def.node.remove(node)
    nodes = list(graph_def.node)
    nodes.insert(random.randrange(len(nodes) + 1), copy)
    nodes = [tf.NodeDef.FromString(each.SerializeToString()) for each in nodes]
    del graph_def.node[:]
    graph_def.node.extend(nodes)


def _attr_of_another(graph_def, node, random):
    other = random.choice(graph_def.node)
    if other.attr:
        key = random.choice(sorted(other.attr))
        node.attr[key].CopyFrom(other.attr[key])


def _odd_attr(graph_def, node, random):
    key = random.choice(('_output_shapes', '_class', '_origins', 'T', 'dtype', 'shape', 'data_format', 'quantize_pos',
                         'bit_width', 'phase', 'mode', 'device', '_symmetric', 'strides', 'ksize', 'dilations', 'N', 'value'))
    value = tf.AttrValue()
    kind = random.choice(('i', 's', 'f', 'b', 'list', 'shape', 'func'))
    if kind == 'list':
        value.list.i.extend([random.choice(_SIZES) for _ in range(random.randrange(5))])
    elif kind == 'shape':
        value.shape.dim.add().size = random.choice(_SIZES)
    elif kind == 'func':
        value.func.name = 'f'
    else:
        setattr(value, kind, {'i': random.choice(_SIZES), 's': b'\xff', 'f': float('nan'), 'b': True}[kind])
    node.attr[key].CopyFrom(value)


def _constant(graph_def, node, random):
    """Gives a Const another value or shape, or stores it in other fields of the TensorProto."""
    constants = [each for each in graph_def.node if each.op == 'Const' and 'value' in each.attr]
    if not constants:
        return
    tensor = random.choice(constants).attr['value'].tensor
    kind = random.choice(('dims', 'type', 'values', 'values', 'scale', 'shape', 'repeated', 'one', 'empty'))
    if kind == 'dims':
        dim = random.choice(tensor.tensor_shape.dim) if tensor.tensor_shape.dim else tensor.tensor_shape.dim.add()
        dim.size = random.choice(_SIZES)
    elif kind == 'type':
        tensor.dtype = random.choice((tf.float16, tf.float64, tf.int32, tf.string, tf.bool)).as_datatype_enum
    else:
        try:
            value = np.array(tf.make_ndarray(tensor))
        except Exception:  # it was damaged before
            return
        _set_value(tensor, value, kind, random)


def _set_value(tensor, value, kind, random):
    if value.dtype.kind not in 'fiu' or not value.size:
        return
    if kind == 'values':
        value.flat[random.randrange(value.size)] = random.choice(
            (0, -1, 1e-30, 1e30, np.nan, np.inf) if value.dtype.kind == 'f' else (0, 1, 2, 3, 7, 100, 2**31 - 1))
    elif kind == 'scale':
        value = (value * random.choice((0, -1, 2, 1e-6, 1e6, 1e-38, 1e38))).astype(value.dtype)
    elif kind == 'shape':
        value = random.choice((value[None], value.ravel(), value[..., None], value.ravel()[:1], value[..., :-1] if value.ndim
                               else value))
    elif kind == 'one':
        value = value.ravel()[0]
    elif kind == 'empty':
        value = value.ravel()[:0]
    changed = tf.make_tensor_proto(value)
    if kind == 'repeated' and value.dtype == np.float32:
        changed.ClearField('tensor_content')
        changed.float_val[:] = value.ravel().tolist()
    tensor.CopyFrom(changed)


_CHANGES = (_generic,) * 6 + (_rewire,) * 4 + (_constant,) * 4 + (
    _more_inputs, _swap_inputs, _other_op, _other_op, _other_type, _other_type, _drop, _twice, _rename, _rename, _move,
    _attr_of_another, _odd_attr, _odd_attr)
