"""tf.keras in graph mode: a model whose `fit` trains quantization-aware, and whose `evaluate` and `predict` run the quantized
evaluation network.

A Keras model holds its output tensors in Python. It builds losses, metrics and the functions for training, evaluation and
prediction from them, some when it is compiled, some on first use, and some again later. So rewriting the graph is not enough:
the model's output tensors must become those with the quantized results.
"""
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import node_name
from vai_q_tf.integrations.keras import inference_copy, session
from vai_q_tf.integrations.keras.position_state import PositionState
from vai_q_tf.qat import rewrite, training
from vai_q_tf.qat.deploy import evaluation_graph_of_form

_H5_ENTRY = 'vai_q_tf_positions'


def quantize_keras_model(model: tf.keras.Model, config: QuantizeConfig) -> tf.keras.Model:
    """Makes a tf.keras model, compiled or not, quantization-aware in place; call it before the model is trained.

    From then on `fit` and `train_on_batch` train the quantized network; `evaluate`, `predict` and the validation of `fit` run
    the quantized evaluation network, without dropout, with folded batch norms, and without moving positions. `save_weights`,
    `save` and `tf.train.Checkpoint` save the positions with the weights, and `load_weights` loads both; weights without
    positions still load. Each training step increments the graph's global step.

    Args:
      model: a functional or sequential tf.keras model, built under a fixed learning phase:
        `tf.keras.backend.set_learning_phase(1)`, or 0 to evaluate, or to train with the moving statistics.
      config: a QuantizeConfig; its nodes are nodes of the graph, such as `model.input.op.name`.

    Returns:
      `model`.

    Raises:
      QuantizeError: the model cannot be quantized (code, node, what to do).
    """
    require_config(config)
    _check(model)
    graph = model.outputs[0].graph
    # Errors are raised before the graph is changed.
    planned = rewrite.plan_rewrite(graph, config, any_batch=True)
    evaluation = evaluation_graph_of_form(graph, planned.forms[0].graph_def, config, planned.decision)
    with session.renewed(graph), graph.as_default(), tf.name_scope(None), tf.control_dependencies(None):
        step = tf.train.get_or_create_global_step()
        training.create_training_graph(graph, config)
        # These Identities read the replacements of their tensors.
        outputs = [tf.identity(output, 'vai_q_tf/' + name) for name, output in zip(model.output_names, model.outputs)]
        results = [tf.identity(graph.get_operation_by_name(node_name(name)).outputs[0]) for name in config.output_nodes]
        evaluated = inference_copy.add_inference_network(graph, *evaluation)
        # Functions compiled for the old session do not work with the new one.
        model.test_function = model.predict_function = None
    tf_internal.track_keras_variable(step)  # so that Keras initialises it with its own
    tf_internal.set_training_outputs(model, outputs)
    model.__class__ = type(model.__class__.__name__, (_QuantizedModel, model.__class__), {})
    model._attach(outputs, PositionState(graph, step), [
        (result.op.inputs[0], inference) for result, inference in zip(results, evaluated)])
    return model


def is_quantized(model: tf.keras.Model) -> bool:
    """Whether `quantize_keras_model` was applied to the model."""
    return isinstance(model, _QuantizedModel)


class _QuantizedModel(tf.keras.Model):
    """Overrides how a quantized model trains, evaluates, predicts, saves and loads."""
    test_function: Optional[Callable[..., Any]]
    predict_function: Optional[Callable[..., Any]]

    def _attach(self, outputs: List[tf.Tensor], state: PositionState, pairs: List[Tuple[tf.Tensor, tf.Tensor]]) -> None:
        """outputs: the results of training. pairs: (tensor of the training network, of the evaluation network)."""
        tf_internal.track(self, state, 'quantize_positions')  # a part of its checkpoints
        with tf_internal.untracked_attributes(self):
            self.quantize_positions = state
            self.outputs = outputs
            self._pairs = pairs
            self._evaluation_outputs = self._evaluated(outputs)
            self.train_function = None

    def _evaluated(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The tensors as computed from the evaluation network."""
        return inference_copy.copy_dependents(self.outputs[0].graph, self._pairs, tensors)

    def _make_train_function(self) -> None:
        before = self.train_function
        super()._make_train_function()
        function = self.train_function
        if function is not before:
            # After the optimizer, whose learning rate may depend on the global step.
            with tf.get_default_graph().as_default(), tf.control_dependencies([function.updates_op]):
                function.updates_op = tf.assign_add(self.quantize_positions.step, 1, name='training/global_step').op

    def _make_test_function(self) -> None:
        renewed = tf_internal.recompile_losses(self)
        if self.test_function is not None and not renewed:
            return
        self.test_function = self._function(
            'test_function', tf_internal.fed_evaluation_inputs(self),
            self._evaluated([self.total_loss] + tf_internal.metric_results(self)))

    def _make_predict_function(self) -> None:
        if self.predict_function is None:
            self.predict_function = self._function('predict_function', tf_internal.fed_inputs(self), self._evaluation_outputs)

    def _function(self, name: str, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> Callable[..., Any]:
        # Without this feed positions would move if a loss reads a tensor inside the training network.
        return tf.keras.backend.function(
            inputs, outputs, self.state_updates, name, feed_dict={self.quantize_positions.track: False},
            **tf_internal.function_options(self))

    def save_weights(self, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Saves the weights and the positions; other arguments are those of tf.keras."""
        super().save_weights(filepath, *args, **kwargs)
        self._add_positions(filepath)

    def save(self, filepath: str, *args: Any, **kwargs: Any) -> None:
        """Saves the model and the positions; other arguments are those of tf.keras."""
        super().save(filepath, *args, **kwargs)
        self._add_positions(filepath)

    def load_weights(self, filepath: str, by_name: bool = False, **kwargs: Any) -> Any:
        """Loads weights and positions; other arguments and the result are those of tf.keras.

        Weights without positions, unless `by_name`, are those of a float network, and begin a new training.

        Raises:
          QuantizeError: INVALID_INPUT for a file that is damaged or does not fit the model.
        """
        positions = self._saved_positions(filepath)  # fails before anything is loaded
        try:
            status = super().load_weights(filepath, by_name, **kwargs)
            if _is_h5(filepath):
                self._check_shapes()
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
            raise _damaged(filepath, error) from error
        if positions is not None:
            self.quantize_positions.load(positions)
        elif not by_name and (_is_h5(filepath) or not _has_positions(filepath)):
            self.quantize_positions.forget()
        return status

    def _check_shapes(self) -> None:
        """Raises a ValueError if a weight has another shape than its variable; Keras assigns values of any shape."""
        variables = [variable for layer in self.layers for variable in layer.weights]
        for variable, value in zip(variables, tf.keras.backend.batch_get_value(variables)):
            if not variable.shape.is_compatible_with(value.shape):
                raise ValueError('{!r} has the shape {}, in the file {}'.format(
                    variable.op.name, variable.shape.as_list(), list(value.shape)))

    def _saved_positions(self, filepath: str) -> Optional[Dict[str, np.ndarray]]:
        """The argument for `quantize_positions.load` in a file of weights; None if it has none."""
        if not _is_h5(filepath):
            return None
        import h5py
        try:
            with h5py.File(filepath, 'r') as stream:
                return self.quantize_positions.parse(stream[_H5_ENTRY][()].tobytes()) if _H5_ENTRY in stream else None
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise _damaged(filepath, getattr(error, 'detail', error)) from error

    def _add_positions(self, filepath: str) -> None:
        if _is_h5(filepath):
            import h5py
            with h5py.File(filepath, 'a') as stream:
                stream[_H5_ENTRY] = np.frombuffer(self.quantize_positions.serialize(), np.uint8)


def _has_positions(checkpoint: str) -> bool:
    """Whether a checkpoint of the format 'tf' has positions."""
    return any(name.startswith('quantize_positions/') for name, _ in tf.train.list_variables(checkpoint))


def _damaged(filepath: str, error: Any) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Cannot load', 'The weights {!r} cannot be loaded: {}. Give a file that save_weights or save '
        'wrote of this model, or the prefix of a checkpoint.'.format(
            filepath, (str(getattr(error, 'message', error)).strip().splitlines() or [type(error).__name__])[0]))


def _is_h5(filepath: Any) -> bool:
    if not isinstance(filepath, str) or not os.path.isfile(filepath):
        return False
    import h5py
    return h5py.is_hdf5(filepath)


class _Refusal(NamedTuple):
    """A reason to refuse a model.

    find: returns a true value if the reason applies. text: '{0}' in it is the name of the model, '{1}' that value.
    """
    code: str
    summary: str
    find: Callable[[tf.keras.Model], Any]
    text: str


def _is_eager(model: tf.keras.Model) -> bool:
    del model
    with tf.init_scope():
        return tf.executing_eagerly()


def _strategy(model: tf.keras.Model) -> str:
    """The type of the strategy that a model was built under; ''."""
    strategy = tf_internal.keras_strategy(model)
    return '' if strategy is None else type(strategy).__name__


def _open_phase(model: tf.keras.Model) -> str:
    """The name of a learning phase that the outputs depend on, a bool scalar placeholder; ''."""
    inputs = {tensor.op for tensor in model.inputs}
    found = reach([tensor.op for tensor in model.outputs],
                  lambda op: [] if op in inputs else [tensor.op for tensor in op.inputs])
    return next((op.name for op in found - inputs if op.type in ('Placeholder', 'PlaceholderWithDefault')
                 and op.outputs[0].dtype == tf.bool and op.outputs[0].shape.rank == 0), '')


# In this order: a reason may rely on those before it.
_REFUSALS = (
    _Refusal(errors.ALREADY_QUANTIZED, 'Called twice', is_quantized, 'This model is quantized already.'),
    _Refusal(
        errors.UNSUPPORTED_GRAPH, 'Eager execution', _is_eager,
        'Quantization rewrites a graph. Call tf.compat.v1.disable_eager_execution() before the model is built.'),
    _Refusal(
        errors.UNSUPPORTED_GRAPH, 'Model without graph', lambda model: not model.inputs or not model.outputs,
        'Model {0!r} has no input and output tensors, because it is a subclass of tf.keras.Model or was not built yet. '
        'Make it of layers that are called on tf.keras.Input, or give a Sequential model its input_shape; for others '
        'call CreateQuantizeTrainingGraph and train with a session loop.'),
    _Refusal(
        errors.UNSUPPORTED_GRAPH, 'Distribution strategy', _strategy,
        'Model {0!r} was built under {1}, under which fit builds copies of it. Train it on one device.'),
    _Refusal(
        errors.GRAPH_HAS_GRADIENTS, 'Called too late', lambda model: getattr(model, 'train_function', None) is not None,
        'Model {0!r} was trained in this graph already, or load_model restored its optimizer. Call '
        'tf.keras.backend.clear_session() and set_learning_phase(1), load the model with load_model(path, compile=False), or '
        'build it and load its weights, and quantize it before it is trained.'),
    _Refusal(
        errors.UNSUPPORTED_GRAPH, 'Other graph', lambda model: model.outputs[0].graph is not tf.get_default_graph(),
        'Model {0!r} is not in the default graph, in whose session tf.keras runs it. Call this where the model was built.'),
    _Refusal(
        errors.LEARNING_PHASE, 'Learning phase', _open_phase,
        'Model {0!r} depends on {1!r}, which switches between training and inference while it runs. Call '
        'tf.keras.backend.set_learning_phase(1) before the model is built, and leave it so: evaluate and predict of a '
        'quantized model run the inference network all the same.'),
)


def _check(model: tf.keras.Model) -> None:
    """Raises a TypeError or a QuantizeError for a model that cannot be quantized."""
    if not isinstance(model, tf.keras.Model):
        raise TypeError('model must be a tf.keras.Model, got {}: {!r}'.format(type(model).__name__, model))
    for refusal in _REFUSALS:
        found = refusal.find(model)
        if found:
            raise errors.QuantizeError(refusal.code, refusal.summary, refusal.text.format(model.name, found))
