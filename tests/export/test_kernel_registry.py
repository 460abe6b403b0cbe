"""The types that TensorFlow's kernels support."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.export import kernel_registry


@pytest.mark.parametrize('op, attrs, supported', [
    ('Conv2D', {'T': tf.float16}, True), ('Conv2D', {'T': tf.bfloat16}, False), ('Conv2D', {'T': tf.int8}, False),
    ('Reshape', {'T': tf.bfloat16, 'Tshape': tf.int32}, True), ('LeakyRelu', {}, True), ('FakeQuantWithMinMaxArgs', {}, True),
    ('Softmax', {'T': tf.bfloat16}, False), ('ParseTensor', {'out_type': tf.float16}, True)])
def test_kernels_of_tensorflow(op, attrs, supported):
    node = tf.NodeDef(name='n', op=op)
    for key, dtype in attrs.items():
        node.attr[key].type = dtype.as_datatype_enum
    assert kernel_registry.has_kernel(node) == supported
