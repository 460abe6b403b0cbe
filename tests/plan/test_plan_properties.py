"""What holds for the plan of any network, on random ones."""
import hypothesis
import hypothesis.strategies as st
import tensorflow as tf

from tests.plan.networks import decisions, image
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.plan.annotate import annotate

layers = tf.compat.v1.layers

_FUNCTIONS = {
    'relu': tf.nn.relu, 'relu6': tf.nn.relu6, 'leaky': lambda x: tf.nn.leaky_relu(x, 0.1),
    'maximum': lambda x: tf.maximum(x * 0.1, x), 'identity': tf.identity, 'elu': tf.nn.elu,
    'pool': lambda x: tf.nn.max_pool2d(x, 2, 1, 'SAME'), 'average': lambda x: tf.nn.avg_pool2d(x, 2, 1, 'SAME'),
    'scale': lambda x: 2.0 * x, 'halves': lambda x: tf.concat(tf.split(x, 2, -1)[::-1], -1)}


def _convolution(x, training, bias, norm, fused):
    x = layers.conv2d(x, 4, 3, padding='same', use_bias=bias)
    return layers.batch_normalization(x, training=training, fused=fused) if norm else x


_STEPS = st.lists(st.tuples(
    st.one_of(st.sampled_from(sorted(_FUNCTIONS)), st.just('add'), st.just('dropout'),
              st.tuples(st.booleans(), st.booleans(), st.booleans())),
    st.integers(0, 3)), min_size=1, max_size=9)


def _build(steps, training):
    """A network whose every step works on one of the last four results; its output joins what nothing else reads."""
    results = [layers.conv2d(image(), 4, 1, name='first')]
    for step, place in steps:
        x = results[max(-1 - place, -len(results))]
        if step == 'add':
            x = tf.add(x, results[-1])
        elif step == 'dropout':
            x = layers.dropout(x, training=True) if training else x
        elif isinstance(step, tuple):
            x = _convolution(x, training, *step)
        else:
            x = _FUNCTIONS[step](x)
        results.append(x)
    return tf.identity(tf.concat(results[-2:], -1), 'out')


def _plan(steps, training):
    with tf.Graph().as_default() as graph:
        _build(steps, training)
    view = GraphView(graph.as_graph_def(add_shapes=True))
    return view, annotate(view, QuantizeConfig(['x'], ['out']))


def _reads(view, reader, tensor):
    """Whether the input reads the tensor, Identity nodes aside."""
    operand = view.inputs(reader[0])[reader[1]]
    return view.skip_identity(operand) == view.skip_identity(tensor)


@hypothesis.given(_STEPS, st.booleans())
@hypothesis.settings(max_examples=40)
def test_plan_is_sound_and_complete(steps, training):
    view, plan = _plan(steps, training)
    names = [tensor.name for tensor in plan.tensors]
    assert len(set(names)) == len(names)
    readers = [reader for tensor in plan.tensors for reader in tensor.consumers]
    assert len(set(readers)) == len(readers)
    for tensor in plan.tensors:
        assert bool(tensor.tensor) or tensor.fold
        if tensor.tensor:
            assert view.dtype(tensor.tensor) == tf.float32
            assert all(_reads(view, reader, tensor.tensor) for reader in tensor.consumers)
    weighted = {name for name in plan.nodes if trait(view.op(name)).kind == WEIGHTED}
    assert {group.node for group in plan.groups} == weighted
    for group in plan.groups:
        assert group.input in names and group.weight in names and group.output in names
        assert (group.node, 1) in readers
    assert not {record.node for record in plan.skipped} & {
        node_name(tensor.tensor) for tensor in plan.tensors if tensor.tensor and trait(
            view.op(tensor.tensor)).kind == WEIGHTED}


@hypothesis.given(_STEPS)
@hypothesis.settings(max_examples=25)
def test_training_and_inference_form_give_one_plan(steps):
    plans = [_plan(steps, training)[1] for training in (True, False)]
    assert decisions(plans[0]) == decisions(plans[1])
    assert [norm.scope for norm in plans[0].batch_norms] == [norm.scope for norm in plans[1].batch_norms]
