"""Properties of every plan, checked on random networks."""
import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf

from tests.plan.networks import decision_of, decisions, image, plan_of_frozen
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name

layers = tf.compat.v1.layers

_FUNCTIONS = {
    'relu': tf.nn.relu, 'relu6': tf.nn.relu6, 'leaky': lambda x: tf.nn.leaky_relu(x, 0.1),
    'maximum': lambda x: tf.maximum(x * 0.1, x), 'identity': tf.identity, 'elu': tf.nn.elu,
    'pool': lambda x: tf.nn.max_pool2d(x, 2, 1, 'SAME'), 'average': lambda x: tf.nn.avg_pool2d(x, 2, 1, 'SAME'),
    'swish': tf.nn.swish, 'sigmoid': tf.nn.sigmoid, 'clip': lambda x: tf.clip_by_value(x, -1.0, 1.0),
    'hard': lambda x: x * ((tf.nn.relu6(x + 3.0) / 6.0) * (6 * 2731 / 2.0**14)),
    'affine': lambda x: x * tf.ones(x.shape[-1:]) + tf.ones(x.shape[-1:]), 'offset': lambda x: x + tf.ones([8, 1, 1]),
    'scaled average': lambda x: 0.984375 * tf.nn.avg_pool2d(x, 3, 1, 'SAME'),
    'shape': lambda x: x[:, :tf.shape(x)[1]],
    'scale': lambda x: 2.0 * x, 'halves': lambda x: tf.concat(tf.split(x, 2, -1)[::-1], -1)}


def _convolution(x, training, bias, norm, fused):
    x = layers.conv2d(x, 4, 3, padding='same', use_bias=bias)
    return layers.batch_normalization(x, training=training, fused=fused) if norm else x


_STEPS = st.lists(st.tuples(
    st.one_of(st.sampled_from(sorted(_FUNCTIONS)), st.just('add'), st.just('dropout'),
              st.tuples(st.booleans(), st.booleans(), st.booleans())),
    st.integers(0, 3)), min_size=1, max_size=9)


def _build(steps, training):
    """A network in which every step reads one of the last four results; its output joins the last two."""
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
    """(the view of the optimised inference form, its plan)"""
    with tf.Graph().as_default():
        _build(steps, training)
        decision = decision_of('out')
    return GraphView(editor.with_shapes(decision.optimised)), decision.plan


def _plan_of_the_frozen(steps):
    with tf.Graph().as_default():
        _build(steps, False)
        return plan_of_frozen('out', simulate_dpu=0)


def _reads(view, reader, tensor):
    """Whether the input reads the tensor, Identity nodes aside."""
    operand = view.inputs(reader[0])[reader[1]]
    return view.skip_identity(operand) == view.skip_identity(tensor)


def _products(view, name):
    height, width, channels, _ = view.shape(view.inputs(name)[1])
    return height * width * channels


def _check_every_op_is_accounted_for(view, plan):
    """Every float op that is computed is quantized, or inside a group that is computed as one, or has a reason."""
    skipped = {record.node for record in plan.skipped}
    assert all(record.reason for record in plan.skipped) and len(skipped) == len(plan.skipped)
    quantized = {node_name(tensor.tensor) for tensor in plan.tensors}
    computed = {'x'}
    for name in view.upstream(['out'], ['x']):
        if any(node_name(tensor) in computed for tensor in view.inputs(name)):
            computed.add(name)
        if name not in computed or tf.float32 not in view.output_types(name) or view.op(name) == 'Const':
            continue
        if name in quantized or name in skipped or trait(view.op(name)).kind == 'passes':
            continue
        # Computed as one with what reads it, up to a quantized result.
        readers = {reader for tensor in _outputs(view, name) for reader, _ in view.consumers(tensor)}
        assert readers and all(reader not in skipped for reader in readers if reader in plan.nodes), name


def _outputs(view, name):
    return [name] + ['{}:{}'.format(name, index) for index in range(1, len(view.output_types(name)))]


@hypothesis.given(_STEPS, st.booleans())
@hypothesis.settings(max_examples=15)
def test_plan_is_sound_and_complete(steps, training):
    _check_plan(steps, training)


@pytest.mark.slow
@hypothesis.given(_STEPS, st.booleans())
@hypothesis.settings(max_examples=100)
def test_many_plans_are_sound_and_complete(steps, training):
    _check_plan(steps, training)


def _check_plan(steps, training):
    view, plan = _plan(steps, training)
    names = [tensor.name for tensor in plan.tensors]
    assert len(set(names)) == len(names)
    readers = [reader for tensor in plan.tensors for reader in tensor.consumers]
    assert len(set(readers)) == len(readers)
    for tensor in plan.tensors:
        assert view.dtype(tensor.tensor) == tf.float32
        assert all(_reads(view, reader, tensor.tensor) for reader in tensor.consumers)
    _check_every_op_is_accounted_for(view, plan)
    weighted = {name for name in plan.nodes if trait(view.op(name)).kind == WEIGHTED}
    assert weighted <= {group.node for group in plan.groups}
    for group in plan.groups:
        assert group.input in names and group.weight in names and group.output in names
        assert group.node not in weighted or (group.node, 1) in readers
        assert group.reduction == (_products(view, group.node) if group.node in weighted else 1)
    for alignment in plan.alignments:
        assert {alignment.output, *alignment.inputs} <= set(names)
    assert not {record.node for record in plan.skipped} & {
        node_name(tensor.tensor) for tensor in plan.tensors if trait(view.op(tensor.tensor)).kind == WEIGHTED}


@hypothesis.given(_STEPS)
@hypothesis.example([('relu', 0), ('leaky', 1), ('add', 1)])  # Add reads the second activation function first
@hypothesis.settings(max_examples=6)
def test_training_and_inference_form_and_frozen_file_give_one_plan(steps):
    _check_forms(steps)


@pytest.mark.slow
@hypothesis.given(_STEPS)
@hypothesis.settings(max_examples=50)
def test_all_forms_of_many_networks_give_one_plan(steps):
    _check_forms(steps)


def _check_forms(steps):
    training, inference, frozen = _plan(steps, True)[1], _plan(steps, False)[1], _plan_of_the_frozen(steps)
    assert decisions(training) == decisions(inference) == decisions(frozen)
