"""The private names of TensorFlow 1.15 that the package uses; all other modules use only `tensorflow.compat.v1`.

A comment at each name says why it is needed and which change of TensorFlow breaks it. All of them are still in 2.11, unless the
comment says otherwise. With a TensorFlow that lacks a name, importing this module fails in most cases.
"""
import contextlib
import copy
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf
from tensorflow.python import pywrap_tensorflow
from tensorflow.python.distribute import collective_all_reduce_strategy, mirrored_strategy, one_device_strategy, values
from tensorflow.python.framework import c_api_util, graph_to_function_def, kernels, op_def_registry, ops
from tensorflow.python.keras import backend
from tensorflow.python.ops import gradients_util, variables
from tensorflow.python.training.saving import saveable_object
from tensorflow.python.training.tracking import base as tracking
from tensorflow.python.util import deprecation, function_utils

# (entered graphs, the default graph when none is entered, or None, entered sessions)
Defaults = Tuple[List[tf.Graph], Optional[tf.Graph], List[tf.Session]]

# Definitions of ops

# {op type: OpDef} of the ops that have a Python function: those of `import tensorflow` and of loaded libraries. Types and
# defaults of nodes are looked up here without a graph; no public function returns an OpDef. TensorFlow 2.1 replaces it by
# `get(op_type)`, which asks the runtime.
python_op_defs = op_def_registry.get_registered_ops


def runtime_op_def(op_type: str) -> Any:
    """The OpDef of an op of the runtime, with or without a Python function, or of a function of the default graph.

    Raises:
      tf.errors.NotFoundError: there is no such op.
    """
    # Some ops have no Python function; and a loaded library is asked for the op that it should contain. Gone after 2.11.
    return tf.get_default_graph()._get_op_def(op_type)


def registered_kernels(op_type: str) -> Sequence[Any]:
    """The KernelDefs of an op on all devices."""
    # An OpDef allows more types than there are kernels for.
    return kernels.get_registered_kernels_for_op(op_type).kernel


def function_def(graph: tf.Graph, name: str, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> Any:
    """The FunctionDef `name` of a whole tf.Graph, from placeholders to tensors."""
    # A GraphDef can carry it. `tf.function` chooses its own name, and has no FunctionDef.
    operations = [op for op in graph.get_operations() if op not in {tensor.op for tensor in inputs}]
    result = graph_to_function_def.graph_to_function_def(graph, operations, inputs, outputs)
    result.signature.name = name
    return result


def load_graph(graph_def: tf.GraphDef) -> None:
    """Lets the runtime load a GraphDef and forget it; a tf.errors.OpError if it refuses the graph.

    tf.import_graph_def takes five times as long, because it creates a tf.Operation for each node.
    """
    # 2.11 has both names, in `client` and with a `tf_status`.
    options, graph = c_api_util.ScopedTFImportGraphDefOptions(), c_api_util.ScopedTFGraph()
    with c_api_util.tf_buffer(graph_def.SerializeToString()) as buffer:
        pywrap_tensorflow.TF_GraphImportGraphDef(graph.graph, buffer, options.options)


# Ops of a live graph

def forward_op(op: tf.Operation) -> Optional[tf.Operation]:
    """The op whose gradient function created `op`, or None."""
    # Nothing else marks the gradients in a graph. Python alone has it, so imported graphs do not. It breaks if tf.gradients no
    # longer calls gradient functions within `Graph._original_op`.
    return op._original_op


def creation_number(op: tf.Operation) -> int:
    """A number that grows with each op that is added to the graph."""
    # `get_operations` is in this order, but an op does not know its index in it.
    return op._id


def waiting_ops(op: tf.Operation) -> Sequence[tf.Operation]:
    """The ops that have `op` as a control input."""
    # Only the other direction, `control_inputs`, is public.
    return op._control_outputs


def set_input(op: tf.Operation, index: int, value: tf.Tensor) -> None:
    """Replaces input `index` of the op by the tf.Tensor `value`."""
    # The public interface only adds to a graph. A session that has run the op before does not see the change. 2.11 documents it
    # as for TensorFlow's own use.
    op._update_input(index, value)


def set_control_inputs(op: tf.Operation, before: Sequence[tf.Operation]) -> None:
    """Replaces the control inputs of the op by `before`."""
    # As `set_input`.
    op._remove_all_control_inputs()
    op._add_control_inputs(before)


def add_control_inputs(op: tf.Operation, before: Sequence[tf.Operation]) -> None:
    """Adds `before` to the control inputs of the op."""
    # As `set_input`.
    op._add_control_inputs(before)


def exchange_inputs(graph: tf.Graph, exchange: Callable[[tf.Tensor], tf.Tensor]) -> None:
    """Lets every op added to `graph` from now on read `exchange(value)` instead of the tf.Tensor `value`.

    Ops of gradients are left as they are, except those of custom gradients, which read the program's Python variables.
    `exchange` has to return a tensor of the same type and shape.
    """
    # TensorFlow does not announce new readers of a tensor. It breaks if ops are created by other methods than these two, which
    # `Graph.create_op` and `tf.import_graph_def` call.
    create, add_imported = graph._create_op_internal, graph._add_new_tf_operations

    def create_exchanged(op_type: str, inputs: Sequence[tf.Tensor], *args: Any, **kwargs: Any) -> tf.Operation:
        differentiated = graph._default_original_op
        if differentiated is None or differentiated.type == 'IdentityN':  # the op that tf.custom_gradient adds
            inputs = [exchange(value) for value in inputs]
        return create(op_type, inputs, *args, **kwargs)

    def add_exchanged(*args: Any, **kwargs: Any) -> List[tf.Operation]:
        imported = add_imported(*args, **kwargs)
        for op in imported:
            for index, value in enumerate(list(op.inputs)):
                if exchange(value) is not value:
                    set_input(op, index, exchange(value))
        return imported

    graph._create_op_internal, graph._add_new_tf_operations = create_exchanged, add_exchanged


def is_in_control_flow(op: tf.Operation) -> bool:
    """Whether the op was created inside a tf.cond or tf.while_loop."""
    # An op inserted next to it would be outside its frame. With `tf.enable_control_flow_v2`, the default in 2.x, the inside is
    # a function, whose ops are in another graph.
    return op._get_control_flow_context() is not None


def control_flow_context_name(graph: tf.Graph) -> str:
    """The name of the branch or loop to which ops of the graph are added now; '' outside all of them."""
    # As `is_in_control_flow`. 2.11 has it for graphs of version 1.
    context = graph._get_control_flow_context()
    return '' if context is None else context.name


def set_attr(op: tf.Operation, key: str, value: tf.AttrValue) -> None:
    """Sets an attr of the op."""
    # Any op may have attrs that begin with an underscore, but they are public only in a NodeDef that is imported.
    op._set_attr(key, value)


# Gradients

def gradients_function() -> Callable[..., Any]:
    """The function by which tf.gradients, and with it every tf.train.Optimizer, differentiates a graph."""
    # See `set_gradients_function`.
    return gradients_util._GradientsHelper


def set_gradients_function(function: Callable[..., Any]) -> None:
    """Replaces `gradients_function()`, for the whole process, by a function with the same arguments."""
    # No event precedes the first gradients of a graph. It breaks if a caller imports the name instead of looking it up in the
    # module. tf.GradientTape, and with it Keras in 2.x, never calls it.
    gradients_util._GradientsHelper = function


# Default graph and session

def swap_defaults(defaults: Defaults) -> Defaults:
    """Replaces the default graphs and sessions of this thread, and returns the previous ones."""
    # `tf.reset_default_graph` refuses to run inside `as_default`, and an entered session cannot be suspended while other code
    # runs.
    graphs, sessions = ops._default_graph_stack, ops._default_session_stack
    before = graphs.stack, graphs._global_default_graph, sessions.stack
    graphs.stack, graphs._global_default_graph, sessions.stack = defaults
    return before


# Checkpoints and MetaGraphs

# The base class of objects other than variables that a tf.train.Saver saves, and the description of one of their tensors:
# positions are not variables. Object-based checkpoints, those of 2.x, use another interface.
SaveableObject = saveable_object.SaveableObject
SaveSpec = saveable_object.SaveSpec

# Registers how members of a collection are written to a MetaGraph and read from it; without it a MetaGraph loses the positions.
# Object-based checkpoints have no collections.
register_proto_function = ops.register_proto_function


def partition(variable: tf.Variable) -> Optional[tf.Variable.SaveSliceInfo]:
    """The tf.Variable.SaveSliceInfo of a part of a partitioned variable; None for a whole variable."""
    # In a checkpoint the parts are one tensor, whose name no part has. The class is public, the method is not.
    return variable._get_save_slice_info()


def variables_of_saver(saver: tf.train.Saver) -> Any:
    """The list or dict of variables of a tf.train.Saver; None if it has none yet."""
    return saver._var_list


def rebuild_saver(saver: tf.train.Saver, variables: Any) -> None:
    """Builds a tf.train.Saver anew, for other variables."""
    # An EstimatorSpec holds the Saver, and hooks may hold it, too.
    saver._var_list, saver._is_built, saver.saver_def = variables, False, None
    saver.build()


# Sessions

def remake_session(session: tf.Session) -> None:
    """Turns a tf.Session object into a new session of its graph and configuration, without values of variables.

    It forgets the graph that it ran, so it sees changes of existing ops.
    """
    # Users and Keras may hold the object. It breaks if a Session keeps more state of its runtime than `_session`.
    fresh = tf.Session(session.sess_str, session.graph, session._config)
    session._session, fresh._session = fresh._session, session._session
    fresh.close()


# tf.keras in graph mode. From 2.6 on tf.keras is a separate package, which does not use tensorflow.python.keras. From 2.2 on
# the comments about models hold only without `tf.enable_v2_behavior`.

# The session of tf.keras, with its variables initialised. The public name is the same function, but 1.15 logs that it is
# deprecated. Gone from tf.keras in Keras 3, which comes with 2.16.
keras_session = backend.get_session

# Adds a variable to those that tf.keras initialises, which by itself only initialises those of layers.
track_keras_variable = backend.track_variable


def existing_keras_session() -> Optional[tf.Session]:
    """The session that tf.keras created in this thread, or None."""
    # `get_session` would create one, and initialise variables in it.
    return getattr(backend._SESSION, 'session', None)


def keras_variables(graph: tf.Graph) -> Iterator[tf.Variable]:
    """The variables of the graph that tf.keras initialises; for a partitioned variable its parts."""
    # Layers may keep them out of all collections. 2.11 has another kind of dictionary.
    for variable in backend._GRAPH_VARIABLES.get(graph, ()):
        yield from variable if isinstance(variable, variables.PartitionedVariable) else (variable,)


def keras_strategy(model: tf.keras.Model) -> Optional[tf.distribute.Strategy]:
    """The tf.distribute.Strategy under which a Keras model was built or compiled, or None."""
    # Under a strategy, `fit` trains copies of the model, which are not quantized.
    return model._distribution_strategy


def track(parent: Any, child: Any, name: str) -> None:
    """Adds `child` to the checkpoints of `parent`, a Keras model or an optimizer, under `name`."""
    # The public way is assigning an attribute, which optimizers do not track.
    parent._track_trackable(child, name)


# A context in which objects assigned to attributes of a Keras model are neither wrapped nor added to its checkpoints.
untracked_attributes = tracking.no_automatic_dependency_tracking_scope


def set_training_outputs(model: tf.keras.Model, outputs: Sequence[tf.Tensor]) -> None:
    """Lets the losses and metrics of a Keras model, when they are built again, read the tf.Tensors `outputs`."""
    # A compiled model has a second list of its outputs, and builds the losses again for other sample weights.
    for endpoint, output in zip(getattr(model, '_training_endpoints', ()), outputs):
        endpoint._output = output


def recompile_losses(model: tf.keras.Model) -> bool:
    """Builds losses and metrics of a Keras model again if its sample weights require it, and returns whether it did."""
    # The methods of Keras that make functions do so first; it serves methods that override them.
    return model._recompile_weights_loss_and_weighted_metrics()


def metric_results(model: tf.keras.Model) -> List[tf.Tensor]:
    """The metrics that an evaluation of a compiled Keras model returns after the loss, in order."""
    # Only the metric keeps the result of its call.
    return [metric._call_result for metric in model._get_training_eval_metrics() if hasattr(metric, '_call_result')]


def fed_inputs(model: tf.keras.Model) -> List[tf.Tensor]:
    """The tensors that `predict` of a Keras model feeds, in order."""
    # `model.inputs` also has tensors of the user, which are not fed.
    return model._feed_inputs


def fed_evaluation_inputs(model: tf.keras.Model) -> List[tf.Tensor]:
    """The tensors that `evaluate` of a compiled Keras model feeds, in order."""
    # As `fed_inputs`, with targets and sample weights.
    return model._feed_inputs + model._feed_targets + model._feed_sample_weights


def function_options(model: tf.keras.Model) -> Dict[str, Any]:
    """The options for tf.Session.run with which a Keras model was compiled."""
    # `compile` takes them as additional keyword arguments for each function that it makes.
    return getattr(model, '_function_kwargs', {})


# Estimators, hooks and optimizers. 2.16 has no Estimators.

# The names of the arguments of a function, or of the open ones of a functools.partial, as an Estimator and an Exporter see
# them; `inspect.signature` also counts keyword-only ones.
argument_names = function_utils.fn_args


def map_export_output(function: Callable[[Any], Any], output: tf.estimator.export.ExportOutput) -> (
        tf.estimator.export.ExportOutput):
    """A copy of a tf.estimator.export.ExportOutput with `function(value)` for each of its values."""
    # Its constructor checks its tensors, and it has no way to replace them. It breaks if the values are not plain attributes.
    result = copy.copy(output)
    for field, value in vars(output).items():
        setattr(result, field, function(value))
    return result


def add_listener(hook: tf.train.CheckpointSaverHook, listener: tf.train.CheckpointSaverListener) -> None:
    """Adds a listener to a tf.train.CheckpointSaverHook."""
    # Only its constructor takes listeners, and the user has called that.
    hook._listeners.append(listener)


_after_create_session = tf.train.StopAtStepHook.after_create_session


def follow_last_steps(note: Callable[[tf.Session, int, int], None]) -> None:
    """Calls note(session, last global step, first global step) whenever a StopAtStepHook gets its session.

    The first step counts as 0 if the hook was created with a last step instead of a number of steps.
    """
    # An Estimator creates the hook from `steps` and `max_steps`, and nobody else learns of it.
    def after_create_session(self: tf.train.StopAtStepHook, session: tf.Session, coord: tf.train.Coordinator) -> None:
        _after_create_session(self, session, coord)
        note(session, self._last_step, 0 if self._num_steps is None else self._last_step - self._num_steps)

    tf.train.StopAtStepHook.after_create_session = after_create_session


def uses_locking(optimizer: tf.train.Optimizer) -> bool:
    """Whether a tf.train.Optimizer locks variables when it updates them."""
    # The argument `use_locking`, which a wrapping optimizer needs too, has no public getter.
    return optimizer._use_locking


# Distribution

# The copies of one variable under a distribution strategy, by device in `values`. 1.15 has no public class for it.
DistributedValues = values.DistributedValues


def is_one_device(strategy: tf.distribute.Strategy) -> bool:
    """Whether it is a tf.distribute.OneDeviceStrategy."""
    # The only thing that the public classes of v1 and v2, both of which a program may use, have in common.
    return isinstance(strategy.extended, one_device_strategy.OneDeviceExtended)


def is_mirrored_on_one_machine(strategy: tf.distribute.Strategy) -> bool:
    """Whether it is a tf.distribute.MirroredStrategy without TF_CONFIG or devices of other machines."""
    # As `is_one_device`; and strategies for several machines derive from the same class. 2.11 has no `_local_mode`.
    extended = strategy.extended
    return (isinstance(extended, mirrored_strategy.MirroredExtended)
            and not isinstance(extended, collective_all_reduce_strategy.CollectiveAllReduceExtended)
            and extended._local_mode)


# Other

@contextlib.contextmanager
def silenced_deprecations() -> Iterator[None]:
    """A context in which TensorFlow does not log deprecations: a user did not write the calls."""
    # TensorFlow's own, `deprecation.silence`, stays silent after an exception. While they are logged, the arguments of each
    # new op are looked up, which is a tenth of the time of a rewrite. 2.11 has the name.
    before, deprecation._PRINT_DEPRECATION_WARNINGS = deprecation._PRINT_DEPRECATION_WARNINGS, False
    try:
        yield
    finally:
        deprecation._PRINT_DEPRECATION_WARNINGS = before


def slim_train_step() -> Callable[..., Any]:
    """The default of the argument `train_step_fn` of slim.learning.train."""
    # contrib is public in 1.15, but not in `tensorflow.compat.v1`, and takes seconds to import. 2.0 has no contrib.
    from tensorflow.contrib import slim
    return slim.learning.train_step
