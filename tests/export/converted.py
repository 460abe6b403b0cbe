"""Converted graphs: their results, and the types that they have."""
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_registry


def run(graph_def, fetches, feeds):
    """The fetched values; what is fed is cast to the type of its placeholder."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name='')
    feeds = {graph.get_tensor_by_name(name + ':0'): value for name, value in feeds.items()}
    with tf.Session(graph=graph) as session:
        return session.run([name + ':0' for name in fetches],
                           {tensor: value.astype(tensor.dtype.as_numpy_dtype) for tensor, value in feeds.items()})


def types(graph_def):
    """All types that the attrs of the nodes name, defaults included."""
    found = set()
    for node in graph_def.node:
        for attr in op_def_registry.get_registered_ops()[node.op].attr:
            value = node.attr[attr.name] if attr.name in node.attr else attr.default_value
            found.update({'type': [value.type], 'list': value.list.type, 'tensor': [value.tensor.dtype]}.get(
                value.WhichOneof('value'), []))
    return {tf.as_dtype(number).name for number in found if number}
