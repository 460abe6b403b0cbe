"""Which layers a noise-model equalization may move scales between."""
from vai_q_tf.graph.traits import IDENTITY_OPS
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.ptq.equalization.noise_equalization import Pair

# What hands the positive factor of a channel on, a relu6 up to where it clips.
_HOMOGENEOUS = IDENTITY_OPS | {'Relu', 'Relu6', 'LeakyRelu', 'MaxPool', 'AvgPool', 'Pad'}
_RESHAPES = ('Reshape', 'Squeeze')


def find_pairs(graph_def, plan, layers):
    """The Pairs of the Layers, in graph order: channels last, and nothing else reads what is between."""
    view, heads = GraphView(graph_def), {layer.result: layer for layer in layers}
    found = (_pair(view, frozenset(plan.output_nodes), heads, tail) for tail in layers)
    return [pair for pair in found if pair]


def _pair(view, outputs, heads, tail):
    tensor, relu6 = tail.source, False
    while node_name(tensor) not in outputs and _readers(view, tensor) == 1:
        if tensor in heads:
            head = heads[tensor]
            return Pair(head, tail, relu6) if head.channel_axis == tail.channel_axis == -1 else None
        op, inputs = view.op(tensor), view.inputs(tensor)
        if op == 'Mul':
            inputs = [each for each in inputs if not _is_number(view, each)]
        if not (op in _HOMOGENEOUS or (op == 'Mul' and len(inputs) == 1) or (op in _RESHAPES and _keeps_last(view, tensor))):
            return None
        relu6 = relu6 or op == 'Relu6'
        tensor = inputs[0]
    return None


def _readers(view, tensor):
    return sum(view.op(name) != 'Shape' for name, _ in view.consumers(tensor))


def _is_number(view, tensor):
    value = view.value(view.skip_identity(tensor))
    return value is not None and value.size == 1 and value > 0


def _keeps_last(view, tensor):
    shapes = [view.shape(end) for end in (view.inputs(tensor)[0], tensor)]
    return all(shapes) and shapes[0][-1] == shapes[1][-1] != -1
