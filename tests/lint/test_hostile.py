"""lint never raises, whatever the graph: damaged bytes, attrs of another kind, nonsense for inputs."""
import random

import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import attr_value_pb2, tensor_pb2

from tests.lint.obeying import OBEYING, network
from tests.lint.test_form_rules import CASES as FORMS
from tests.lint.test_number_rules import CASES as NUMBERS
from tests.lint.test_position_rules import CASES as POSITIONS
from vai_q_tf.lint.lint import differences, lint

OPS = sorted({node.op for graph_def in OBEYING.values() for node in graph_def.node} | {
    'AvgPool', 'BatchToSpaceND', 'IdentityN', 'LeakyRelu', 'MatMul', 'Maximum', 'Mean', 'Pack', 'Relu6', 'Split', 'SplitV', ''})
NAMES = ('', '^', ':', 'in', 'in:9', 'in:x', 'in/aquant', '^in', ':0', 'gone', 'c:1:2', '\u00e9')


def graphs():
    yield network(2)
    yield from OBEYING.values()
    for breaking, obeying in [*FORMS.values(), *POSITIONS.values()]:
        yield from [graph_def for graph_def, _ in breaking] + obeying
    for differing, others in NUMBERS.values():
        yield from differing + others


def attr(dice):
    """An AttrValue of any kind."""
    dims = [dice.choice((-1, -7, 0, 1, 2, 2**40)) for _ in range(dice.randrange(5))]
    result = attr_value_pb2.AttrValue()
    kind = dice.randrange(9)
    if kind == 0:
        result.i = dice.choice((0, -1, 127, 2**62, -2**63))
    elif kind == 1:
        result.f = dice.choice((float('nan'), float('inf'), -1.0))
    elif kind == 2:
        result.s = dice.choice((b'', b'\xff\xfe', b'NCHW', b'EXPLICIT'))
    elif kind == 3:
        result.type = dice.choice((0, 1, 3, 14, 99))
    elif kind == 4:
        result.list.i.extend(dims)
    elif kind == 5:
        result.list.s.append(b'\xff')
    elif kind == 6:
        for size in dims:
            result.shape.dim.add().size = size
    elif kind == 7:
        result.list.shape.add().unknown_rank = dice.random() < .5
        for size in dims:
            result.list.shape.add().dim.add().size = size
    else:
        tensor = tensor_pb2.TensorProto(dtype=dice.choice((0, 1, 3, 7, 14, 99)), int64_val=dims, tensor_content=dice.choice((
            b'', b'abc', b'\0' * 8)))
        for size in dims:
            tensor.tensor_shape.dim.add().size = size
        tensor.tensor_shape.unknown_rank = dice.random() < .2
        result.tensor.CopyFrom(tensor)
    return result


def change(graph_def, dice):
    node = dice.choice(graph_def.node)
    kind = dice.randrange(7)
    if kind == 0:
        node.op = dice.choice(OPS)
    elif kind == 1:
        node.name = dice.choice(NAMES)
    elif kind == 2 and node.input:
        node.input[dice.randrange(len(node.input))] = dice.choice(NAMES + (node.name,))
    elif kind == 3 and node.input:
        del node.input[dice.randrange(len(node.input))]
    elif kind == 4 and node.attr:
        del node.attr[dice.choice(sorted(node.attr))]
    elif kind == 5:
        names = sorted(node.attr) + ['value', 'shape', '_output_shapes', 'data_format', 'quantize_pos', 'ksize', 'alpha', 'T']
        node.attr[dice.choice(names)].CopyFrom(attr(dice))
    else:
        graph_def.node.extend([node])


@pytest.mark.parametrize('seed', range(4))
def test_mutants(seed):
    dice = random.Random(seed)
    for original in graphs():
        for _ in range(3):
            mutant = tf.compat.v1.GraphDef()
            mutant.CopyFrom(original)
            for _ in range(dice.randrange(1, 5)):
                change(mutant, dice)
            before = mutant.SerializeToString(deterministic=True)
            for finding in lint(mutant) + differences(mutant):
                assert finding.rule in str(finding) and finding.message
            assert mutant.SerializeToString(deterministic=True) == before


def test_damaged_bytes():
    dice, whole, read = random.Random(0), network(1).SerializeToString(), 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        damaged = tf.compat.v1.GraphDef()
        try:
            damaged.ParseFromString(bytes(data))
        except DecodeError:
            continue
        read += 1
        lint(damaged)
        differences(damaged)
    assert read > 30
