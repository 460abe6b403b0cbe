"""The session of tf.keras runs a rewrite that comes after its first run."""
import contextlib

import numpy as np
import pytest

from tests.combinations import each_value_once
from tests.integrations.keras.training import (  # noqa: F401  (a fixture among them)
    IMAGES,
    backend,
    build,
    config_of,
    fit,
    float_weights,
    loss_function,
    session_of_its_own,
    start,
    v1,
)
from vai_q_tf import CreateQuantizeEvaluationGraph, CreateQuantizeTrainingGraph, QuantizeError, ops
from vai_q_tf.integrations.keras import session as keras_session
from vai_q_tf.integrations.keras.model import quantize_keras_model
from vai_q_tf.qat import graph_record
from vai_q_tf.qat.positions import position_saveable


@pytest.mark.parametrize('way, default', each_value_once(['training', 'model', 'evaluation'], [False, True]))
def test_a_session_that_ran_the_float_network_runs_the_rewritten_one(tmp_path, way, default):
    """A session does not notice changes of its ops, and Keras creates one when weights are loaded."""
    weights = float_weights(tmp_path)

    def rewrite_graph(model):
        if way == 'model':
            quantize_keras_model(model, config_of(model, tmp_path))
        else:
            {'training': CreateQuantizeTrainingGraph, 'evaluation': CreateQuantizeEvaluationGraph}[way](
                config_of(model, tmp_path))

    def read(session):
        graph = session.graph
        plan = graph_record.evaluation_plan(graph) if way == 'evaluation' else graph_record.training_plan(graph)
        for name in [tensor.name for tensor in plan.tensors]:
            votes.setdefault(name, np.eye(1, 256, 133, np.float32)[0])
        handle = graph.get_tensor_by_name(position_saveable.STATE_NAME + ':0')
        session.run(ops.write_positions(handle, np.stack(list(votes.values())), len(votes)))
        return session.run(graph.get_operation_by_name('dense/BiasAdd').inputs[0], {'images:0': IMAGES[:4]})

    votes = {}
    start(0)
    model = build()
    rewrite_graph(model)
    model.load_weights(weights)
    expected = read(backend.get_session())

    start(0)
    session = v1.Session()
    with session.as_default() if default else contextlib.ExitStack():
        backend.set_session(session)
        model = build()
        model.load_weights(weights)
        float_result = session.run('dense/BiasAdd:0', {'images:0': IMAGES[:4]})
        rewrite_graph(model)
        assert backend.get_session() is session
        np.testing.assert_array_equal(read(session), expected)
    assert np.abs(expected - float_result).max() > 1e-4
    session.close()


def test_weights_with_an_optimizer_are_loaded_before_the_model_is_quantized(tmp_path):
    model = build()
    model.compile('adam', loss_function())
    fit(model, epochs=1)
    model.save_weights(str(tmp_path / 'weights'))
    iterations = backend.get_value(model.optimizer.iterations)
    start(1)
    model = build()
    model.load_weights(str(tmp_path / 'weights'))
    quantize_keras_model(model, config_of(model, tmp_path))
    model.compile('adam', loss_function())
    fit(model, epochs=1)
    assert backend.get_value(model.optimizer.iterations) == 2 * iterations == 8


def test_a_wrapped_session_is_refused(tmp_path):
    """Such as a debugger's, which cannot be created anew."""
    class Wrapper:
        def __init__(self, session):
            self.graph, self.run = session.graph, session.run

    model = build()
    backend.set_session(Wrapper(backend.get_session()))
    with pytest.raises(QuantizeError, match='in a Wrapper, which') as raised:
        CreateQuantizeTrainingGraph(config_of(model, tmp_path))
    assert raised.value.code == 'Quantize_TF1_Graph_Finalized'


def test_variables_are_checked_in_the_order_of_their_names():
    """The graph of a training is the same in every process."""
    with v1.Graph().as_default() as graph, v1.Session():
        with v1.variable_scope('scope', use_resource=True):
            for name in 'fbdaec':
                v1.layers.dense(v1.placeholder(v1.float32, [None, 2]), 2, name=name)
        with keras_session.renewed(graph):
            pass
    checked = [op.inputs[0].op.name for op in graph.get_operations() if op.name.startswith('VarIsInitializedOp')]
    assert len(checked) == 12 and checked == sorted(checked)
