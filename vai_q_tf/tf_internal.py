"""What the package uses of TensorFlow 1.15 that has no public name; all other modules use `tensorflow.compat.v1` alone.

The comment above each name says why it is needed, and what breaks it. A name that another TensorFlow does not have fails here,
most of them when this module is imported.
"""
import copy

import tensorflow.compat.v1 as tf
from tensorflow.python import pywrap_tensorflow
from tensorflow.python.distribute import collective_all_reduce_strategy, mirrored_strategy, one_device_strategy, values
from tensorflow.python.framework import c_api_util, graph_to_function_def, kernels, op_def_registry, ops
from tensorflow.python.keras import backend
from tensorflow.python.ops import gradients_util, variables
from tensorflow.python.training.saving import saveable_object
from tensorflow.python.training.tracking import base as tracking
from tensorflow.python.util import deprecation, function_utils

# Definitions of ops

# {op type: OpDef} of the ops that have a Python function: those of `import tensorflow`, and of libraries that were loaded.
# Types and defaults of nodes are looked up here without a graph; no public function gives an OpDef. TensorFlow 2.1 has
# `get(op_type)` in its place, which asks the runtime.
python_op_defs = op_def_registry.get_registered_ops


def runtime_op_def(op_type):
    """The OpDef of an op that the runtime has, with a Python function or without, or of a function of the default graph.

    Raises:
      tf.errors.NotFoundError: it has none.
    """
    # Some ops have no Python function, and a library that was loaded is asked for the op that it should bring. The method is
    # still there in 2.11; later versions ask another way.
    return tf.get_default_graph()._get_op_def(op_type)


def registered_kernels(op_type):
    """The KernelDefs of an op, on all devices."""
    # The types that an op may have are more than those that it can be computed in. Still there in 2.11.
    return kernels.get_registered_kernels_for_op(op_type).kernel


# A graph as the body of a function that a GraphDef can carry; `tf.function` gives one a name of its own, and no FunctionDef.
def function_def(graph, name, inputs, outputs):
    """The FunctionDef `name` of all that is in a tf.Graph, from placeholders to tensors."""
    operations = [op for op in graph.get_operations() if op not in {tensor.op for tensor in inputs}]
    result = graph_to_function_def.graph_to_function_def(graph, operations, inputs, outputs)
    result.signature.name = name
    return result


def load_graph(graph_def):
    """Makes the runtime load a GraphDef and forget it; a tf.errors.OpError where it does not take that.

    tf.import_graph_def takes five times as long, for it makes a tf.Operation of each node.
    """
    # 2.11 has both names, in `client` and with a `tf_status`.
    options, graph = c_api_util.ScopedTFImportGraphDefOptions(), c_api_util.ScopedTFGraph()
    with c_api_util.tf_buffer(graph_def.SerializeToString()) as buffer:
        pywrap_tensorflow.TF_GraphImportGraphDef(graph.graph, buffer, options.options)


# Ops of a live graph

def forward_op(op):
    """The op that a gradient function made `op` for; None where no gradient function made it."""
    # Nothing else tells the gradients in a graph. It is a note of Python alone, so imported graphs have none; what breaks it is
    # a tf.gradients that no longer calls gradient functions inside of `Graph._original_op`. 2.11 does.
    return op._original_op


def creation_number(op):
    """A number that is greater the later an op was added to its graph."""
    # `get_operations` has the order, but an op does not know its place in it. Still there in 2.11.
    return op._id


def waiting_ops(op):
    """The ops that `op` is a control input of."""
    # Public is only the other direction, `control_inputs`. Still there in 2.11.
    return op._control_outputs


def set_input(op, index, value):
    """Makes input `index` of the op read the tf.Tensor `value`."""
    # A graph is public as something that grows; a rewrite in place changes inputs, too. A session that has run the op before
    # does not see it. Still there in 2.11, where it says that it is for TensorFlow's own use.
    op._update_input(index, value)


def set_control_inputs(op, before):
    """Makes the op wait for the ops `before` and for no others."""
    # As `set_input`.
    op._remove_all_control_inputs()
    op._add_control_inputs(before)


def add_control_inputs(op, before):
    """Makes the op wait for the ops `before`, too."""
    # As `set_input`.
    op._add_control_inputs(before)


def exchange_inputs(graph, exchange):
    """Lets each new op of `graph` read `exchange(value)` where it is given the tf.Tensor `value`; but for ops of gradients.

    Custom gradients read what their program has in Python variables, so theirs read `exchange(value)`, too. `exchange` has to
    give a tensor of the same type and shape.
    """
    # Nothing announces that a program builds on a tensor. It ends with ops that are made by other methods than these two, which
    # `Graph.create_op` and `tf.import_graph_def` call, each its own. Still there in 2.11.
    create, add_imported = graph._create_op_internal, graph._add_new_tf_operations

    def create_exchanged(op_type, inputs, *args, **kwargs):
        differentiated = graph._default_original_op
        if differentiated is None or differentiated.type == 'IdentityN':  # the op that tf.custom_gradient makes
            inputs = [exchange(value) for value in inputs]
        return create(op_type, inputs, *args, **kwargs)

    def add_exchanged(*args, **kwargs):
        imported = add_imported(*args, **kwargs)
        for op in imported:
            for index, value in enumerate(list(op.inputs)):
                if exchange(value) is not value:
                    set_input(op, index, exchange(value))
        return imported

    graph._create_op_internal, graph._add_new_tf_operations = create_exchanged, add_exchanged


def is_in_control_flow(op):
    """Whether the op was made inside a tf.cond or tf.while_loop."""
    # What is inserted beside such an op would be outside of its frame. With `tf.enable_control_flow_v2`, the default of 2.x,
    # the inside is a function, and its ops are in another graph.
    return op._get_control_flow_context() is not None


def control_flow_context_name(graph):
    """The name of the branch or loop that ops of the graph are made in now; '' outside of all."""
    # As above: ops have it, and nothing public tells. 2.11 has it for graphs of version 1.
    context = graph._get_control_flow_context()
    return '' if context is None else context.name


def set_attr(op, key, value):
    """Gives the op the tf.AttrValue `value`."""
    # Attrs that begin with an underscore can be set on any op, but only when a NodeDef is imported. Still there in 2.11.
    op._set_attr(key, value)


# Gradients

def gradients_function():
    """What tf.gradients, and with it every tf.train.Optimizer, calls to differentiate a graph."""
    # See `set_gradients_function`.
    return gradients_util._GradientsHelper


def set_gradients_function(function):
    """Puts `function`, of the same arguments, in the place of `gradients_function()`, for the whole process."""
    # The moment before the first gradients of a graph is announced to nobody. It ends with a caller that imports the name
    # instead of looking it up in the module; 2.11 looks it up. tf.GradientTape, and with it Keras in 2.x, never calls it.
    gradients_util._GradientsHelper = function


# Default graph and session

def swap_defaults(defaults):
    """Makes `defaults` the default graphs and sessions of this thread.

    Args:
      defaults: (entered graphs, the graph that is the default where none is entered, or None, entered sessions).

    Returns:
      what they were before.
    """
    # `tf.reset_default_graph` refuses to run inside of `as_default`, and a session that was entered cannot be left for another
    # thread of control. Still there in 2.11.
    graphs, sessions = ops._default_graph_stack, ops._default_session_stack
    before = graphs.stack, graphs._global_default_graph, sessions.stack
    graphs.stack, graphs._global_default_graph, sessions.stack = defaults
    return before


# Checkpoints and MetaGraphs

# The base class of what a tf.train.Saver saves beside variables, and the description of one of its tensors: the positions are
# no variable. Still there in 2.11; object-based checkpoints, the ones of 2.x, use another interface.
SaveableObject = saveable_object.SaveableObject
SaveSpec = saveable_object.SaveSpec

# Says how the members of a collection go into a MetaGraph and come back: without it a MetaGraph loses the positions. Still
# there in 2.11, but object-based checkpoints have no collections.
register_proto_function = ops.register_proto_function


def partition(variable):
    """Which part of a partitioned variable a tf.Variable is, a tf.Variable.SaveSliceInfo; None for a whole one."""
    # The parts are one tensor in a checkpoint, under a name that no part has. The class is public, the method is not. Still
    # there in 2.11.
    return variable._get_save_slice_info()


# Sessions

def remake_session(session):
    """Lets a tf.Session object go on as a new session of its graph and configuration, without values of variables.

    What the object ran before is forgotten, so it runs the graph as that is now.
    """
    # The object may be in the hands of users, and Keras keeps it. It ends with a Session that has more state of its runtime
    # than the attribute `_session`; 2.11 has not.
    fresh = tf.Session(session.sess_str, session.graph, session._config)
    session._session, fresh._session = fresh._session, session._session
    fresh.close()


# tf.keras in graph mode. From 2.6 on tf.keras is a package of its own, and tensorflow.python.keras a copy that it does not use.
# From 2.2 on what is said of models is true of models without `tf.enable_v2_behavior` alone.

# The session of tf.keras, with its variables initialised. The public name is the same function, but logs in 1.15 that it is
# deprecated. Gone from tf.keras in Keras 3, which 2.16 has.
keras_session = backend.get_session

# Makes a variable one of those that tf.keras initialises; it does so for those of layers alone.
track_keras_variable = backend.track_variable


def existing_keras_session():
    """The session that tf.keras made in this thread; None where it made none."""
    # `get_session` would make one, and initialise variables in it.
    return getattr(backend._SESSION, 'session', None)


def keras_variables(graph):
    """The variables of the graph that tf.keras initialises; of one that is kept in parts, the parts."""
    # Layers may keep them out of all collections. 2.11 keeps them in another kind of dictionary.
    for variable in backend._GRAPH_VARIABLES.get(graph, ()):
        yield from variable if isinstance(variable, variables.PartitionedVariable) else (variable,)


def keras_strategy(model):
    """The tf.distribute.Strategy that a Keras model was built or compiled under; None where there was none."""
    # Under one, `fit` trains copies of the model, which are not quantized.
    return model._distribution_strategy


def track(parent, child, name):
    """Makes `child` a part of the checkpoints of `parent`, a Keras model or an optimizer, under `name`."""
    # Public is the assignment to an attribute; optimizers do not track those. Still there in 2.11.
    parent._track_trackable(child, name)


# Within the context nothing that is assigned to an attribute of a Keras model becomes a part of its checkpoints, or is wrapped.
untracked_attributes = tracking.no_automatic_dependency_tracking_scope


def set_training_outputs(model, outputs):
    """Lets the losses and metrics of a Keras model, when they are built again, read the tf.Tensors `outputs`."""
    # A compiled model keeps them a second time, beside `model.outputs`, and builds losses anew for other sample weights.
    for endpoint, output in zip(getattr(model, '_training_endpoints', ()), outputs):
        endpoint._output = output


def recompile_losses(model):
    """Builds losses and metrics of a Keras model again if its sample weights ask for it; whether it did."""
    # The first step of the methods of Keras that make functions, for methods that replace them.
    return model._recompile_weights_loss_and_weighted_metrics()


def metric_results(model):
    """The tf.Tensors of the metrics that an evaluation of a compiled Keras model gives after the loss, in order."""
    # The result of a metric that was called is kept in the metric only.
    return [metric._call_result for metric in model._get_training_eval_metrics() if hasattr(metric, '_call_result')]


def fed_inputs(model):
    """What `predict` of a Keras model feeds, in order."""
    # `model.inputs` has those, too, that are tensors of the user and are not fed.
    return model._feed_inputs


def fed_evaluation_inputs(model):
    """What `evaluate` of a compiled Keras model feeds, in order."""
    # As `fed_inputs`, with targets and sample weights.
    return model._feed_inputs + model._feed_targets + model._feed_sample_weights


def function_options(model):
    """The options for tf.Session.run that a Keras model was compiled with."""
    # `compile` takes them as further keyword arguments, and gives them to each function that it makes.
    return getattr(model, '_function_kwargs', {})


# Estimators, hooks and optimizers. 2.16 has no Estimators.

# The names of the arguments of a function, of a functools.partial those that are open, as an Estimator and an Exporter find
# them; `inspect.signature` counts keyword-only ones as well. Still there in 2.11.
argument_names = function_utils.fn_args


def map_export_output(function, output):
    """A copy of a tf.estimator.export.ExportOutput, with `function(value)` for each value that it holds."""
    # It checks its tensors when it is made, and has no way to exchange them. It ends with values that are no plain attributes.
    result = copy.copy(output)
    for field, value in vars(output).items():
        setattr(result, field, function(value))
    return result


def add_listener(hook, listener):
    """Gives a tf.train.CheckpointSaverHook one more listener."""
    # They can be given when it is made, and the user made it. Still there in 2.11.
    hook._listeners.append(listener)


_after_create_session = tf.train.StopAtStepHook.after_create_session


def follow_last_steps(note):
    """Calls note(session, global step at which it stops, that from which it counts) when a StopAtStepHook gets its session.

    It counts from 0 where it was made with a last step.
    """
    # An Estimator makes the hook of `steps` and `max_steps`, and tells nobody. Still there in 2.11.
    def after_create_session(self, session, coord):
        _after_create_session(self, session, coord)
        note(session, self._last_step, 0 if self._num_steps is None else self._last_step - self._num_steps)

    tf.train.StopAtStepHook.after_create_session = after_create_session


def uses_locking(optimizer):
    """Whether a tf.train.Optimizer locks variables when it updates them."""
    # The argument of that name, which an optimizer that wraps it passes on; only the getter is missing. Still there in 2.11.
    return optimizer._use_locking


# Distribution

# What a distribution strategy made of one variable: `values` are the variables on the devices. 1.15 has no public class for it.
# Still there in 2.11.
DistributedValues = values.DistributedValues


def is_one_device(strategy):
    """Whether it is a tf.distribute.OneDeviceStrategy."""
    # The public classes of v1 and v2, which a program may use both of, have only this one in common.
    return isinstance(strategy.extended, one_device_strategy.OneDeviceExtended)


def is_mirrored_on_one_machine(strategy):
    """Whether it is a tf.distribute.MirroredStrategy without TF_CONFIG or devices of other machines."""
    # As `is_one_device`; and strategies of several machines build on the same class. 2.11 has no `_local_mode`.
    extended = strategy.extended
    return (isinstance(extended, mirrored_strategy.MirroredExtended)
            and not isinstance(extended, collective_all_reduce_strategy.CollectiveAllReduceExtended)
            and extended._local_mode)


# Other

# Within the context TensorFlow does not log that something is deprecated: the command answers for what it calls. Still there in
# 2.11.
silenced_deprecations = deprecation.silence


def slim_train_step():
    """The function that takes a step in slim.learning.train where none is given."""
    # contrib is public in 1.15, but not in `tensorflow.compat.v1`, and takes seconds to import. 2.0 has no contrib.
    from tensorflow.contrib import slim
    return slim.learning.train_step
