"""tf.keras in graph mode: a model whose `fit` trains quantization-aware, and whose `evaluate` and `predict` run the quantized
evaluation network.

A Keras model holds its output tensors in Python. The loss, the metrics and the functions for training, evaluation and
prediction are built from them, some when the model is compiled, some at the first use, and some again later. So the rewrite of
the graph alone is not enough: the model's output tensors have to become those that have the quantized results.
"""
import os

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import require_config
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import node_name
from vai_q_tf.integrations.keras import inference_copy, session
from vai_q_tf.integrations.keras.position_state import PositionState
from vai_q_tf.qat import rewrite, training

_H5_ENTRY = 'vai_q_tf_positions'


def quantize_keras_model(model, config):
    """Makes a tf.keras model quantization-aware, in place and before it is trained; compiled or not.

    `fit` and `train_on_batch` train the quantized network from then on; `evaluate`, `predict` and the validation of `fit` run
    the quantized evaluation network, without dropout, with folded batch norms, and without moving positions. `save_weights`,
    `save` and `tf.train.Checkpoint` save the positions with the weights and `load_weights` loads both; weights without
    positions load as they always did. Each training step increments the graph's global step.

    Args:
      model: a functional or sequential tf.keras model, built under a learning phase that is fixed:
        `tf.keras.backend.set_learning_phase(1)`, or 0 to evaluate, or to train with the moving statistics.
      config: a QuantizeConfig; its nodes are those of the graph, such as `model.input.op.name`.

    Returns:
      `model`.

    Raises:
      QuantizeError: the model cannot be quantized (code, node, what to do).
    """
    require_config(config)
    _check(model)
    graph = model.outputs[0].graph
    rewrite.plan_rewrite(graph, config)  # raises while the graph is as it was
    with session.renewed(graph), graph.as_default(), tf.name_scope(None), tf.control_dependencies(None):
        step = tf.train.get_or_create_global_step()
        # A reader of a tensor shows what takes its place.
        outputs = [tf.identity(output, 'vai_q_tf/' + name) for name, output in zip(model.output_names, model.outputs)]
        results = [tf.identity(graph.get_operation_by_name(node_name(name)).outputs[0]) for name in config.output_nodes]
        training.create_training_graph(graph, config)
        evaluated = inference_copy.add_inference_network(graph, config)
        # Functions of a session that is renewed are none of the new one.
        model.test_function = model.predict_function = None
    tf_internal.track_keras_variable(step)  # so that Keras initialises it with its own
    tf_internal.set_training_outputs(model, outputs)
    model.__class__ = type(model.__class__.__name__, (_QuantizedModel, model.__class__), {})
    model._attach(outputs, PositionState(graph, step), [(result.op.inputs[0], twin)
                                                              for result, twin in zip(results, evaluated)])
    return model


def is_quantized(model):
    """Whether `quantize_keras_model` was applied to the model."""
    return isinstance(model, _QuantizedModel)


class _QuantizedModel(tf.keras.Model):
    """What a quantized model does otherwise than its own class."""

    def _attach(self, outputs, state, twins):
        """outputs: tensors with the results of training. state: a PositionState. twins: [(training, evaluation tensor)]."""
        tf_internal.track(self, state, 'quantize_positions')  # a part of its checkpoints
        with tf_internal.untracked_attributes(self):
            self.quantize_positions = state
            self.outputs = outputs
            self._twins = twins
            self._evaluation_outputs = self._evaluated(outputs)
            self.train_function = None

    def _evaluated(self, tensors):
        return inference_copy.copy_dependents(self.outputs[0].graph, self._twins, tensors)

    def _make_train_function(self):
        before = self.train_function
        super()._make_train_function()
        function = self.train_function
        if function is not before:
            # After the optimizer, whose learning rate may depend on the global step.
            with tf.get_default_graph().as_default(), tf.control_dependencies([function.updates_op]):
                function.updates_op = tf.assign_add(self.quantize_positions.step, 1, name='training/global_step').op

    def _make_test_function(self):
        renewed = tf_internal.recompile_losses(self)
        if self.test_function is not None and not renewed:
            return
        self.test_function = self._function(
            'test_function', tf_internal.fed_evaluation_inputs(self),
            self._evaluated([self.total_loss] + tf_internal.metric_results(self)))

    def _make_predict_function(self):
        if self.predict_function is None:
            self.predict_function = self._function('predict_function', tf_internal.fed_inputs(self), self._evaluation_outputs)

    def _function(self, name, inputs, outputs):
        # Positions stay even where a loss reads from inside the training network.
        return tf.keras.backend.function(
            inputs, outputs, self.state_updates, name, feed_dict={self.quantize_positions.track: False},
            **tf_internal.function_options(self))

    def save_weights(self, filepath, *args, **kwargs):
        super().save_weights(filepath, *args, **kwargs)
        self._add_positions(filepath)

    def save(self, filepath, *args, **kwargs):
        super().save(filepath, *args, **kwargs)
        self._add_positions(filepath)

    def load_weights(self, filepath, *args, **kwargs):
        positions = self._saved_positions(filepath)  # before anything is loaded
        try:
            status = super().load_weights(filepath, *args, **kwargs)
            if _is_h5(filepath):
                self._check_shapes()
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
            raise _damaged(filepath, error) from error
        if positions is not None:
            self.quantize_positions.load(positions)
        return status

    def _check_shapes(self):
        """Raises a ValueError where a weight has not the shape of its variable; Keras assigns what a file has."""
        variables = [variable for layer in self.layers for variable in layer.weights]
        for variable, value in zip(variables, tf.keras.backend.batch_get_value(variables)):
            if not variable.shape.is_compatible_with(value.shape):
                raise ValueError('{!r} has the shape {}, in the file {}'.format(
                    variable.op.name, variable.shape.as_list(), list(value.shape)))

    def _saved_positions(self, filepath):
        """What a file of weights has for `quantize_positions.load`; None where it has nothing."""
        if not _is_h5(filepath):
            return None
        import h5py
        try:
            with h5py.File(filepath, 'r') as stream:
                return self.quantize_positions.parse(stream[_H5_ENTRY][()].tobytes()) if _H5_ENTRY in stream else None
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise _damaged(filepath, getattr(error, 'detail', error)) from error

    def _add_positions(self, filepath):
        if _is_h5(filepath):
            import h5py
            with h5py.File(filepath, 'a') as stream:
                stream[_H5_ENTRY] = np.frombuffer(self.quantize_positions.serialize(), np.uint8)


def _damaged(filepath, error):
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Cannot load', 'The weights {!r} cannot be loaded: {}. Give a file that save_weights or save '
        'wrote of this model, or the prefix of a checkpoint.'.format(
            filepath, (str(getattr(error, 'message', error)).strip().splitlines() or [type(error).__name__])[0]))


def _is_h5(filepath):
    if not isinstance(filepath, str) or not os.path.isfile(filepath):
        return False
    import h5py
    return h5py.is_hdf5(filepath)


def _check(model):
    if not isinstance(model, tf.keras.Model):
        raise TypeError('model must be a tf.keras.Model, got {}: {!r}'.format(type(model).__name__, model))
    if is_quantized(model):
        raise errors.QuantizeError(errors.ALREADY_QUANTIZED, 'Called twice', 'This model is quantized already.')
    with tf.init_scope():
        eager = tf.executing_eagerly()
    if eager:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Eager execution',
            'Quantization rewrites a graph. Call tf.compat.v1.disable_eager_execution() before the model is built.')
    if not model.inputs or not model.outputs:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Model without graph',
            'Model {!r} has no input and output tensors, because it is a subclass of tf.keras.Model or was not built yet. '
            'Make it of layers that are called on tf.keras.Input, or give a Sequential model its input_shape; for others '
            'call CreateQuantizeTrainingGraph and train with a session loop.'.format(model.name))
    strategy = tf_internal.keras_strategy(model)
    if strategy is not None:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Distribution strategy',
            'Model {!r} was built under {}, under which fit builds copies of it. Train it on one device.'.format(
                model.name, type(strategy).__name__))
    if getattr(model, 'train_function', None) is not None:
        raise errors.QuantizeError(
            errors.GRAPH_HAS_GRADIENTS, 'Called too late',
            'Model {!r} was trained in this graph already. Save its weights, call tf.keras.backend.clear_session() and '
            'set_learning_phase(1), build the model again, quantize it and load the weights.'.format(model.name))
    graph = model.outputs[0].graph
    if graph is not tf.get_default_graph():
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Other graph',
            'Model {!r} is not in the default graph, in whose session tf.keras runs it. Call this where the model was '
            'built.'.format(model.name))
    phase = _open_phase(model)
    if phase is not None:
        raise errors.QuantizeError(
            errors.LEARNING_PHASE, 'Learning phase',
            'Model {!r} depends on {!r}, which switches between training and inference while it runs. Call '
            'tf.keras.backend.set_learning_phase(1) before the model is built, and leave it so: evaluate and predict of a '
            'quantized model run the inference network all the same.'.format(model.name, phase))


def _open_phase(model):
    """The name of a learning phase that the outputs depend on, a bool scalar placeholder; None where there is none."""
    inputs = {tensor.op for tensor in model.inputs}
    found = reach([tensor.op for tensor in model.outputs],
                  lambda op: [] if op in inputs else [tensor.op for tensor in op.inputs])
    return next((op.name for op in found - inputs if op.type in ('Placeholder', 'PlaceholderWithDefault')
                 and op.outputs[0].dtype == tf.bool and op.outputs[0].shape.rank == 0), None)
