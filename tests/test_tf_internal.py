"""Only tf_internal uses private TensorFlow; and its functions do what they say."""
import ast
import functools
import importlib
import inspect
import os
import re
import textwrap

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tf
from vai_q_tf import tf_internal

_PACKAGE = os.path.dirname(vai_q_tf.__file__)
# The modules of TensorFlow that may be imported.
_PUBLIC = frozenset(('tensorflow', 'tensorflow.compat', 'tensorflow.compat.v1'))
# Folders of its source that are attributes after `import tensorflow`.
_FOLDERS = frozenset(('python', 'core', 'contrib', 'compiler', 'tools'))
# Attributes with an underscore that are public: {name: why}.
_DOCUMENTED = {
    '_replace': 'of a NamedTuple, whose methods have one because they are not fields',
    '_asdict': 'of a NamedTuple',
    '_fields': 'of a NamedTuple',
    '_exit': 'of os',
    '_run_exitfuncs': 'of atexit',
}
# Methods that override private ones of a base class: {(module, class, method): why}.
_OVERRIDES = {
    ('integrations/keras/model', '_QuantizedModel', '_make_train_function'):
        'fit calls it for the function of a training step, to which the increment of the global step is added',
    ('integrations/keras/model', '_QuantizedModel', '_make_test_function'):
        'evaluate calls it for the function of a batch, which is to run the evaluation network',
    ('integrations/keras/model', '_QuantizedModel', '_make_predict_function'):
        'predict calls it for the function of a batch, which is to run the evaluation network',
}


def _modules():
    for folder, _, names in sorted(os.walk(_PACKAGE)):
        for name in sorted(names):
            if name.endswith('.py'):
                yield os.path.relpath(os.path.join(folder, name), _PACKAGE)[:-len('.py')].replace(os.sep, '/')


def _source(module):
    with open(os.path.join(_PACKAGE, module + '.py'), encoding='utf-8') as source:
        return source.read()


def _is_private_name(name):
    return name.startswith('_') and not name.startswith('__')


def _defined(tree):
    """Names with an underscore that classes define: methods, attributes, and attributes that methods assign to self."""
    names = set()
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef):
            for node in owner.body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    names.add(node.name)
                elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                    names.update(name.id for name in ast.walk(node) if isinstance(getattr(name, 'ctx', None), ast.Store)
                                 and isinstance(name, ast.Name))
            names.update(node.attr for node in ast.walk(owner) if isinstance(node, ast.Attribute)
                         and isinstance(node.ctx, ast.Store) and _is_named(node.value, 'self', 'cls'))
    return set(filter(_is_private_name, names))


def _is_named(node, *names):
    return isinstance(node, ast.Name) and node.id in names


def _is_call(node, *names):
    return isinstance(node, ast.Call) and _is_named(node.func, *names)


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ['{}.{}'.format(node.module, alias.name) for alias in node.names if (node.module or '').startswith('tensorflow')]
    return [node.s] if isinstance(node, ast.Str) and re.match(r'tensorflow\w*(\.\w+)+$', node.s) else []


def _accesses(tree):
    """(line, object, name) of each access to an attribute with an underscore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private_name(node.attr):
            yield node.lineno, node.value, node.attr
        elif (_is_call(node, 'getattr', 'setattr', 'hasattr', 'delattr') and isinstance(node.args[1], ast.Str)
              and _is_private_name(node.args[1].s)):
            yield node.lineno, node.args[0], node.args[1].s


def _private_uses(source, module=''):
    """The private names of TensorFlow in the text of a module: [(line, name)]."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        found += [(node.lineno, name) for name in _imported(node)
                  if re.match(r'tensorflow', name) and name not in _PUBLIC]
        if isinstance(node, ast.Attribute) and node.attr in _FOLDERS and _is_named(node.value, 'tf', 'tensorflow'):
            found.append((node.lineno, node.attr))
    own = _defined(tree)
    overrides = {method for of, _, method in _OVERRIDES if of == module}
    for line, value, name in _accesses(tree):
        allowed = overrides if _is_call(value, 'super') else own.union(_DOCUMENTED)
        if name not in allowed:
            found.append((line, name))
    return found


def _private_names(cls):
    """{name: class} for the names with an underscore in those bases of a class that are classes of TensorFlow."""
    found = {}
    for base in cls.__mro__[1:]:
        if base.__module__.startswith(('tensorflow', 'tensorflow_')):
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
            used = {name for _, value, name in _accesses(tree) if _is_named(value, 'self', 'cls')}
            found.update((name, base) for name in used | _defined(tree))
    return found


def _classes():
    """(module, class) for each class of the package with a base class of TensorFlow."""
    for module in _modules():
        if not module.endswith('__main__'):
            imported = importlib.import_module('vai_q_tf.' + module.replace('/', '.').replace('.__init__', ''))
            for cls in vars(imported).values():
                if inspect.isclass(cls) and cls.__module__ == imported.__name__ and any(
                        base.__module__.startswith('tensorflow') for base in cls.__mro__):
                    yield module, cls


def _own_names(cls):
    return _defined(ast.parse(textwrap.dedent(inspect.getsource(cls))))


@pytest.mark.parametrize('module', [module for module in _modules() if module != 'tf_internal'])
def test_no_other_module_uses_private_tensorflow(module):
    assert _private_uses(_source(module), module) == []


def test_classes_do_not_override_private_names_of_their_bases():
    shared = {(module, cls.__name__, name) for module, cls in _classes()
              for name in _own_names(cls).intersection(_private_names(cls))}
    assert shared == set(_OVERRIDES)


def test_the_documented_names_are_in_use():
    used = {name for module in _modules() for _, _, name in _accesses(ast.parse(_source(module)))}
    assert used.issuperset(_DOCUMENTED)


@pytest.mark.parametrize('line', [
    'from tensorflow.python.framework import ops',
    'import tensorflow.python.framework.ops as ops',
    'from tensorflow import python',
    'from tensorflow import contrib',
    'def late():\n    from tensorflow.contrib import slim',
    'from tensorflow.core.framework import types_pb2',
    'from tensorflow.compat.v1.keras import backend',
    'import tensorflow_core',
    'from tensorflow_estimator.python.estimator import estimator',
    'import importlib\nops = importlib.import_module(\'tensorflow.python.framework.ops\')',
    'helper = tf.python.ops.gradients_util',
    'slim = tf.contrib.slim',
    'number = op._id',
    'session._session = other',
    'del model._feed_inputs',
    'for hook in hooks:\n    hook._listeners.append(1)',
    'kwargs = getattr(model, \'_function_kwargs\', {})',
    'setattr(endpoint, \'_output\', output)',
    'class Model(tf.keras.Model):\n    def inputs(self):\n        return self._feed_inputs',
    'class Model(tf.keras.Model):\n    def run(self):\n        super()._make_test_function()',
])
def test_a_private_use_is_found(line):
    source = _source('graph/view')
    assert _private_uses(source) == []
    assert _private_uses(source + '\n' + line + '\n')


def test_an_override_is_found():
    class Model(tf.keras.Model):
        def _make_test_function(self):
            self._setattr_tracking = False
            self._mine = 1

    assert _own_names(Model).intersection(_private_names(Model)) == {'_make_test_function', '_setattr_tracking'}


# The functions.

def test_the_runtime_has_ops_without_a_python_function():
    assert tf_internal.python_op_defs()['Relu'].name == tf_internal.runtime_op_def('Relu').name == 'Relu'
    assert '_Send' not in tf_internal.python_op_defs()
    assert tf_internal.runtime_op_def('_Send').name == '_Send'
    with pytest.raises(tf.errors.NotFoundError):
        tf_internal.runtime_op_def('NoSuchOp')


def test_kernels():
    types = {kernel.device_type for kernel in tf_internal.registered_kernels('Relu')}
    assert 'CPU' in types
    assert list(tf_internal.registered_kernels('NoSuchOp')) == []


def test_ops_of_a_live_graph():
    with tf.Graph().as_default() as graph:
        first, second = tf.placeholder(tf.float32, [], 'first'), tf.placeholder(tf.float32, [], 'second')
        result = tf.square(first, 'result')
        loop = tf.while_loop(lambda value: value < 9, lambda value: value + result, [second])
        gradient, = tf.gradients(result, first)
        assert tf_internal.creation_number(first.op) < tf_internal.creation_number(second.op)
        assert tf_internal.forward_op(result.op) is None
        assert tf_internal.forward_op(gradient.op) is result.op
        assert not tf_internal.is_in_control_flow(result.op)
        assert any(tf_internal.is_in_control_flow(op) for op in graph.get_operations() if op.name.startswith('while/'))
        assert loop.op.type == 'Exit'
        assert tf_internal.control_flow_context_name(graph) == ''
        names = []
        tf.cond(tf.constant(True), lambda: names.append(tf_internal.control_flow_context_name(graph)) or first, lambda: second,
                name='branches')
        assert names == ['branches/cond_text']

        tf_internal.set_input(result.op, 0, second)
        assert list(result.op.inputs) == [second]
        tf_internal.add_control_inputs(result.op, [first.op])
        tf_internal.add_control_inputs(result.op, [second.op])
        assert set(result.op.control_inputs) == {first.op, second.op}
        assert result.op in tf_internal.waiting_ops(first.op)
        tf_internal.set_control_inputs(result.op, [second.op])
        assert list(result.op.control_inputs) == [second.op]
        assert result.op not in tf_internal.waiting_ops(first.op)
        tf_internal.set_attr(result.op, '_mark', tf.AttrValue(b=True))
        assert result.op.get_attr('_mark') is True


def test_a_graph_becomes_a_function_that_the_runtime_loads():
    with tf.Graph().as_default() as body:
        x = tf.placeholder(tf.float32, [2], 'x')
        function = tf_internal.function_def(body, 'twice', [x], [x + x])
    with tf.Graph().as_default() as graph:
        tf.constant([1., 2.], name='values')
    graph_def = graph.as_graph_def()
    graph_def.library.function.add().CopyFrom(function)
    call = graph_def.node.add(name='call', op='twice', input=['values'])
    tf_internal.load_graph(graph_def)
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
        tf.import_graph_def(graph_def, name='')
        assert session.run('call:0').tolist() == [2, 4]
    call.input[0] = 'missing'
    with pytest.raises(tf.errors.OpError, match='missing'):
        tf_internal.load_graph(graph_def)


def test_the_function_for_gradients_can_be_replaced():
    original, calls = tf_internal.gradients_function(), []

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    with tf.Graph().as_default():
        value = tf.placeholder(tf.float32, [])
        try:
            tf_internal.set_gradients_function(counted)
            tf.gradients(value * value, value)
            tf.train.GradientDescentOptimizer(1.).compute_gradients(value * value, [value])
        finally:
            tf_internal.set_gradients_function(original)
        tf.gradients(value, value)
    assert len(calls) == 2


def test_inputs_of_new_ops_are_exchanged():
    with tf.Graph().as_default() as graph:
        old, new, other = (tf.placeholder(tf.float32, [], name) for name in ('old', 'new', 'other'))
        early = tf.square(old)
        tf_internal.exchange_inputs(graph, lambda value: new if value is old else value)
        late = tf.raw_ops.Sub(x=other, y=old)
        assert list(late.op.inputs) == [other, new]
        assert list(early.op.inputs) == [old]
        before = set(graph.get_operations())
        tf.gradients(early, old)
        assert old in [value for op in set(graph.get_operations()) - before for value in op.inputs]
        assert new not in [value for op in set(graph.get_operations()) - before for value in op.inputs]
        source = tf.Graph()
        with source.as_default():
            tf.negative(tf.placeholder(tf.float32, [], 'value'), 'negative')
        negative, = tf.import_graph_def(source.as_graph_def(), {'value:0': old}, ['negative:0'], name='imported')
        assert list(negative.op.inputs) == [new]


def test_defaults_are_swapped():
    graph = tf.Graph()
    with tf.Graph().as_default() as outside, tf.Session() as session:
        before = tf_internal.swap_defaults(([], graph, []))
        try:
            assert tf.get_default_graph() is graph
            assert tf.get_default_session() is None
        finally:
            inside = tf_internal.swap_defaults(before)
        assert inside == ([], graph, [])
        assert tf.get_default_graph() is outside
        assert tf.get_default_session() is session


@pytest.mark.parametrize('use_resource', [False, True])
def test_parts_of_variables(use_resource):
    with tf.Graph().as_default():
        whole = tf.get_variable('whole', [4], use_resource=use_resource)
        parts = list(tf.get_variable('parts', [4], partitioner=tf.fixed_size_partitioner(2), use_resource=use_resource))
    assert tf_internal.partition(whole) is None
    assert [tf_internal.partition(part).full_name for part in parts] == ['parts', 'parts']


def test_a_session_is_renewed():
    with tf.Graph().as_default():
        first, second = tf.constant(1), tf.constant(2)
        result = tf.identity(first)
        variable = tf.get_variable('variable', [], initializer=tf.zeros_initializer())
        session = tf.Session(config=tf.ConfigProto(device_count={'GPU': 0}))
        session.run(variable.initializer)
        assert session.run(result) == 1
        tf_internal.set_input(result.op, 0, second)
        tf_internal.remake_session(session)
        assert session.run(result) == 2
        assert not session.run(tf.is_variable_initialized(variable))
        session.close()


@pytest.fixture
def keras_graph():
    tf.keras.backend.clear_session()
    with tf.Graph().as_default() as graph:
        yield graph
    tf.keras.backend.clear_session()


def test_the_session_of_keras(keras_graph):
    assert tf_internal.existing_keras_session() is None
    session = tf_internal.keras_session()
    assert session.graph is keras_graph
    assert tf_internal.existing_keras_session() is session
    assert list(tf_internal.keras_variables(keras_graph)) == []
    layer = tf.keras.layers.Dense(2)
    layer(tf.keras.Input([3]))
    mine = tf.get_variable('mine', [])
    tf_internal.track_keras_variable(mine)
    assert {variable.name for variable in tf_internal.keras_variables(keras_graph)} == {
        'dense/kernel:0', 'dense/bias:0', 'mine:0'}


def test_a_keras_model(keras_graph):
    inputs = tf.keras.Input([3])
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(inputs))
    assert tf_internal.keras_strategy(model) is None
    tf_internal.set_training_outputs(model, [])  # it is not compiled
    assert tf_internal.function_options(model) == {}
    model.compile('sgd', 'mse', metrics=['mae'])
    assert tf_internal.fed_inputs(model) == [inputs]
    assert [value.op.name for value in tf_internal.fed_evaluation_inputs(model)] == ['input_1', 'dense_target']
    model.test_on_batch(np.zeros([2, 3]), np.zeros([2, 1]), np.ones([2]))
    assert [value.op.name for value in tf_internal.fed_evaluation_inputs(model)] == [
        'input_1', 'dense_target', 'dense_sample_weights']
    assert len(tf_internal.metric_results(model)) == 1
    assert not tf_internal.recompile_losses(model)
    replaced = tf.identity(model.output)
    tf_internal.set_training_outputs(model, [replaced])
    model.compile('sgd', 'mse')
    with tf_internal.untracked_attributes(model):
        model.list = []
    assert type(model.list) is list
    child = tf.train.Checkpoint()
    tf_internal.track(model, child, 'child')
    assert any(value is child for value in _children(model).values())


def _children(model):
    return {reference.name: reference.ref for reference in model._checkpoint_dependencies}


def test_an_export_output_is_mapped():
    with tf.Graph().as_default():
        first, second = tf.zeros([2, 2]), tf.ones([2, 2])
        output = tf.estimator.export.ClassificationOutput(scores=first)
        mapped = tf_internal.map_export_output(lambda value: second if value is first else value, output)
    assert mapped.scores is second
    assert output.scores is first
    assert mapped.classes is None


def test_hooks_and_optimizers(tmp_path):
    listener = tf.train.CheckpointSaverListener()
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_steps=1, saver=object())
    tf_internal.add_listener(hook, listener)
    assert hook._listeners == [listener]
    assert tf_internal.uses_locking(tf.train.GradientDescentOptimizer(1., use_locking=True)) is True
    assert tf_internal.uses_locking(tf.train.GradientDescentOptimizer(1.)) is False


def test_the_last_step_of_a_hook_is_announced(monkeypatch):
    monkeypatch.setattr(tf.train.StopAtStepHook, 'after_create_session', tf.train.StopAtStepHook.after_create_session)
    noted = []
    tf_internal.follow_last_steps(lambda session, last, first: noted.append((last, first)))
    with tf.Graph().as_default():
        tf.train.create_global_step()
        with tf.Session(config=tf.ConfigProto(device_count={'GPU': 0})) as session:
            session.run(tf.assign(tf.train.get_global_step(), 3))
            for hook in (tf.train.StopAtStepHook(num_steps=5), tf.train.StopAtStepHook(last_step=7)):
                hook.begin()
                hook.after_create_session(session, None)
    assert noted == [(8, 3), (7, 0)]


def test_arguments_of_a_partial_function():
    assert tuple(tf_internal.argument_names(functools.partial(lambda features, labels, mode: None, mode=1))) == (
        'features', 'labels')


def test_strategies():
    one = tf.distribute.OneDeviceStrategy('/cpu:0')
    here = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    several = tf.distribute.experimental.MultiWorkerMirroredStrategy()
    assert [tf_internal.is_one_device(strategy) for strategy in (one, here, several)] == [True, False, False]
    assert [tf_internal.is_mirrored_on_one_machine(strategy) for strategy in (one, here, several)] == [False, True, False]
    with tf.Graph().as_default(), here.scope():
        variable = tf.get_variable('variable', [])
        assert isinstance(variable, tf_internal.DistributedValues)
        assert len(variable.values) == 2


def test_the_step_of_slim():
    step = tf_internal.slim_train_step()
    assert list(inspect.signature(step).parameters) == ['sess', 'train_op', 'global_step', 'train_step_kwargs']


def test_public_names_are_the_private_objects():
    """Public names are used instead of private ones that give the same bytes of a graph."""
    from tensorflow.python.framework import tensor_util
    from tensorflow.python.ops import gen_io_ops, gen_resource_variable_ops
    from tensorflow.python.platform import tf_logging
    assert tf.make_ndarray is tensor_util.MakeNdarray
    assert tf.make_tensor_proto is tensor_util.make_tensor_proto
    assert tf.logging.info is tf_logging.info and tf.logging.warning is tf_logging.warning

    def graph(handle, restore):
        with tf.Graph().as_default() as built:
            handle(dtype=tf.float32, shape=[2, 3], shared_name='scope/table', name='scope/table')
            tf.cond(tf.placeholder(tf.bool, []), lambda: restore('checkpoint', ('a', 'b'), ['', ''], [tf.string, tf.float32]),
                    lambda: [tf.zeros([0], tf.string), tf.zeros([0])])
        return built.as_graph_def(add_shapes=True).SerializeToString(deterministic=True)

    def restore(prefix, names, slices, dtypes):
        return tf.raw_ops.RestoreV2(prefix=prefix, tensor_names=names, shape_and_slices=slices, dtypes=dtypes)

    assert graph(tf.raw_ops.VarHandleOp, restore) == graph(gen_resource_variable_ops.var_handle_op, gen_io_ops.restore_v2)
    assert np.all(tf.make_ndarray(tf.make_tensor_proto([1, 2])) == [1, 2])


def test_deprecations_are_logged_again_after_an_exception(monkeypatch):
    logged = []
    monkeypatch.setattr(tf_internal.deprecation, '_PRINT_DEPRECATION_WARNINGS', True)
    monkeypatch.setattr(tf_internal.deprecation.logging, 'warning', lambda *arguments: logged.append(arguments))

    @tf_internal.deprecation.deprecated(None, 'Use something else.')
    def old():
        pass

    with pytest.raises(KeyError), tf_internal.silenced_deprecations():
        old()
        raise KeyError
    assert not logged
    old()
    assert len(logged) == 1
