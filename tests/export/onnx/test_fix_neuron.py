"""FixNeuron in operators of ONNX: the same bits, for every setting and every float."""
import numpy as np
import onnx
import onnxruntime
import tensorflow.compat.v1 as tf

from tests.export.onnx.models import convolutions, fix
from tests.ops import samples
from vai_q_tf.export.onnx.convert import to_onnx


def test_fix_neuron_alone_bit_for_bit():
    random = np.random.RandomState(0)
    values = [samples.HOSTILE, random.randint(0, 2**32, 20000, dtype=np.uint32).view(np.float32)]
    values += [(random.randint(-600, 600, 2000) / 2.0 * 2.0**-p).astype(np.float32) for p in (-120, -3, 0, 5, 120)]
    values += [np.nextafter(values[-3], np.float32(side)) for side in (-np.inf, np.inf)]
    settings = [(position, bits, mode, narrow_range) for position in (-126, -120, -3, 0, 5, 120, 125, 126, 127)
                for bits in (1, 2, 8, 24) for mode, narrow_range in ((0, False), (1, False), (1, True))]
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None], 'x')
        names = [fix(x, 'q{}/aquant'.format(i), position, mode, bits, narrow_range).op.name
                 for i, (position, bits, mode, narrow_range) in enumerate(settings)]
        graph_def = graph.as_graph_def()
    data = to_onnx(graph_def, ['x'], names)
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    feed = {'x:0': np.concatenate(values)}
    found = session.run([name + ':0' for name in names], feed)
    with tf.Session(graph=graph) as session:
        expected = session.run([name + ':0' for name in names], feed)
    for setting, ours, theirs in zip(settings, expected, found):
        assert samples.same_bits(ours, theirs), setting


def test_equal_scalars_are_one_constant():
    model = onnx.load_from_string(to_onnx(convolutions(), ['input'], ['logits']))
    scalars = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
               if tensor.name.startswith('vai_q_tf/constant_')]
    assert all(value.shape == () for value in scalars)
    bits = [int(value.view(np.uint32)) for value in scalars]
    assert bits and len(bits) == len(set(bits))
