"""Every documented name, imported in every way, from the checkout and as installed."""
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

import vai_q_tensorflow
import vai_q_tf
from tests.forks import ROOT, run_each
from tests.integrations import trainings
from tests.packaging.test_distribution import project_files
from tests.support import read_graph

v1 = tf.compat.v1
DOCUMENTED = [
    'QuantizeConfig', 'CreateQuantizeTrainingGraph', 'CreateQuantizeEvaluationGraph', 'CreateQuantizeDeployGraph',
    'quantize_frozen', 'inspect', 'dump', 'convert_datatype', 'fix_neuron', 'FixNeuron', '__version__', '__git_version__',
    'quantize_train', 'quantize_evaluate', 'deploy_checkpoint',
    'QuantizeError', 'QuantizePositionHook', 'QuantizeCheckpointListener', 'QuantizeTrainingHook', 'QuantizeOptimizer',
    'QuantizeExporter', 'quantize_model_fn', 'quantize_estimator', 'quantize_keras_model', 'QuantizeCallback',
    'slim_training_arguments', 'SynchronizePositionsHook', 'quantize_meta_graph', 'update', 'lint', 'load_library', 'errors',
    'FrozenFiles', 'Inspection', 'Finding', 'Distillation', 'distillation_loss',
    'sensitivity', 'Sensitivity', 'analyze', 'Analysis',
]
IMPORTS = {
    'plain': 'import vai_q_tensorflow as decent_q',
    'from the package': 'from vai_q_tensorflow.python import decent_q',
    'dotted': 'import vai_q_tensorflow.python.decent_q; decent_q = vai_q_tensorflow.python.decent_q',
    'names of the module': 'from vai_q_tensorflow.python.decent_q import *; CreateQuantizeTrainingGraph; '
                           'import vai_q_tensorflow.python.decent_q as decent_q',
}


@pytest.mark.parametrize('name', DOCUMENTED)
def test_documented_name(name):
    assert name in vai_q_tensorflow.__all__
    assert getattr(vai_q_tensorflow, name) is getattr(vai_q_tf, name)


def test_all_names_are_there_once():
    assert len(set(vai_q_tensorflow.__all__)) == len(vai_q_tensorflow.__all__)
    assert all(hasattr(vai_q_tensorflow, name) for name in vai_q_tensorflow.__all__)
    assert vai_q_tensorflow.__all__ == vai_q_tf.__all__


def test_the_module_shows_its_names_and_nothing_else():
    shown = {name for name in dir(vai_q_tensorflow) if not name.startswith('__')}
    assert shown == {name for name in vai_q_tensorflow.__all__ if not name.startswith('__')} | {'python'}
    assert isinstance(vai_q_tensorflow.errors, types.ModuleType) and vai_q_tensorflow.errors.QuantizeError


_FIRST = {'rules': 'from vai_q_tf.lint import node_rules; node_rules.RULES',
          'names': 'from vai_q_tf.lint.lint import RULES, lint',
          'importlib': 'import importlib; importlib.import_module("vai_q_tf.lint.weight_rules").RULES',
          'file': 'import vai_q_tf.lint.lint_graph',
          'types': 'import vai_q_tf.types, vai_q_tf.lint.lint_graph', 'package': 'import vai_q_tensorflow'}

_LIBRARY = '''
import tensorflow as tf
import vai_q_tensorflow as decent_q
for name in ("QuantizeConfig", "CreateQuantizeTrainingGraph", "CreateQuantizeEvaluationGraph", "CreateQuantizeDeployGraph",
             "fix_neuron", "QuantizeError", "QuantizePositionHook", "QuantizeCheckpointListener"):
    assert callable(getattr(decent_q, name)), name
assert decent_q.__version__
node = tf.compat.v1.NodeDef(name="q", op="FixNeuron", input=["x"])
node.attr["T"].type, node.attr["mode"].i, node.attr["phase"].i, node.attr["quantize_pos"].i = 1, 1, 1, 2
graph_def = tf.compat.v1.GraphDef(node=[tf.compat.v1.NodeDef(name="x", op="Placeholder"), node])
graph_def.node[0].attr["dtype"].type = 1
tf.import_graph_def(graph_def, name="")
with tf.compat.v1.Session() as session:
    print(session.run("q:0", {"x:0": [0.3, -100.0, 100.0]}).tolist())
'''


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A directory with the modules as setuptools copies them, and the library of the checkout."""
    source, target = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('installed')
    for name in project_files('setup.py', 'setup.cfg', 'README.md', 'vai_q_tensorflow.py', 'vai_q_tf'):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), str(source / name))
    subprocess.check_output((sys.executable, 'setup.py', '--quiet', 'build_py', '--build-lib', str(target)),
                            cwd=str(source), stderr=subprocess.STDOUT)
    library = os.path.join('vai_q_tf', 'ops', 'libvai_q_tf_ops.so')
    os.symlink(os.path.join(ROOT, library), str(target / library))
    return target


@pytest.fixture(scope='module')
def printed(installed, tmp_path_factory):
    """{name: output} of the code in _FIRST, with a call of the function, in _LIBRARY, and in IMPORTS with the installed
    modules, which prints their path and whether they have all names.
    """
    first = '\nimport vai_q_tf, tensorflow as tf\nassert vai_q_tf.lint(tf.compat.v1.GraphDef()) == []'
    imports = '''
import sys, vai_q_tensorflow
assert decent_q is vai_q_tensorflow
assert sys.modules['vai_q_tensorflow.python.decent_q'] is decent_q
print(decent_q.__file__, all(hasattr(decent_q, name) for name in {!r}))'''.format(DOCUMENTED)
    ways = {name: (ROOT, code + first) for name, code in _FIRST.items()}
    ways.update({name: (str(installed), code + imports) for name, code in IMPORTS.items()}, library=(ROOT, _LIBRARY))
    return run_each(ways, tmp_path_factory.mktemp('printed'))


def test_the_module_loads_the_library(printed):
    assert printed['library'] == '[0.25, -32.0, 31.75]\ndone\n'


@pytest.mark.parametrize('first', sorted(_FIRST))
def test_a_function_has_the_name_of_a_folder(printed, first):
    """`vai_q_tf.lint` is the function, whatever is imported first, and modules of the folder can be imported."""
    assert printed[first] == 'done\n'


@pytest.mark.parametrize('name', [
    name for name in DOCUMENTED if callable(getattr(vai_q_tf, name)) and name != 'load_library'])
def test_every_public_callable_shows_its_arguments(name):
    parameters = inspect.signature(getattr(vai_q_tf, name)).parameters.values()
    assert parameters and not [parameter for parameter in parameters
                               if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]


@pytest.mark.parametrize('old, new', [
    ('vai_q_tf.hooks.keras_callback', 'vai_q_tf.integrations.keras.callback'),
    ('vai_q_tf.qat.metagraph', 'vai_q_tf.integrations.metagraph')])
def test_a_module_that_moved_is_found_where_it_was(old, new):
    assert importlib.import_module(old) is importlib.import_module(new)
    package, _, name = old.rpartition('.')
    assert getattr(importlib.import_module(package), name) is importlib.import_module(new)


def test_lint_is_found_where_the_guide_had_it():
    assert importlib.import_module('vai_q_tf.export.lint').lint is vai_q_tf.lint


@pytest.mark.parametrize('way', sorted(IMPORTS))
def test_imports_of_the_installed_modules(installed, printed, way):
    assert printed[way].split() == [str(installed / 'vai_q_tensorflow.py'), 'True', 'done']


@pytest.mark.parametrize('form', ['positional', 'keywords'])
def test_fix_neuron_by_the_name_of_the_op(form):
    values = np.array([0.3, -0.3, 100.0], np.float32)
    quantized = (vai_q_tensorflow.FixNeuron(values, 1, 1, 8, quantize_pos=2) if form == 'positional' else
                 vai_q_tensorflow.FixNeuron(input=values, mode=1, phase=1, bit_width=8, quantize_pos=2))
    with v1.Session() as session:
        np.testing.assert_array_equal(session.run(quantized), np.float32([0.25, -0.25, 31.75]))


@pytest.mark.parametrize('form', ['definition', 'file'])
def test_functions_of_meta_graphs(tmp_path, form):
    """From a float MetaGraph to a frozen model, with the names and the order of arguments that scripts use."""
    def meta_graph(training, name):
        with tf.Graph().as_default():
            v1.train.get_or_create_global_step()
            images = v1.placeholder(tf.float32, [None, 8, 8, 2], name='images')
            loss = tf.reduce_mean(tf.square(trainings.network(images, training)), name='loss')
            v1.add_to_collection('loss', loss)
            path = str(tmp_path / name)
            definition = v1.train.export_meta_graph(path)
            return definition if form == 'definition' else path

    config = trainings.config(tmp_path)
    decent_q = vai_q_tensorflow
    written = decent_q.quantize_train(meta_graph(True, 'train.meta'), config)
    assert written == os.path.join(config.output_dir, 'quantize_train', 'quantize_train.ckpt.meta')
    with tf.Graph().as_default() as graph:
        v1.train.import_meta_graph(written)
        train = trainings.minimize(graph.get_collection('loss')[0], trainings.momentum())
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            session.run(train, {'images:0': trainings.IMAGES})
            checkpoint = v1.train.Saver().save(session, str(tmp_path / 'model.ckpt'), 1)
    evaluation = meta_graph(False, 'eval.meta')
    written = decent_q.quantize_evaluate(input_meta_graph_def=evaluation, q_config=config)
    assert written == os.path.join(config.output_dir, 'quantize_eval', 'quantize_eval.ckpt.meta')
    model = decent_q.deploy_checkpoint(evaluation, checkpoint, config)
    graph_def = read_graph(model)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name='')
        frozen = session.run('logits/BiasAdd/aquant:0', {'net_in:0': trainings.IMAGES})
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v1.train.import_meta_graph(written).restore(session, checkpoint)
        np.testing.assert_array_equal(session.run('logits/BiasAdd/aquant:0', {'images:0': trainings.IMAGES}), frozen)


def test_a_meta_graph_that_is_missing_or_empty_is_refused(tmp_path):
    for source in (v1.MetaGraphDef(), str(tmp_path / 'nothing')):
        with pytest.raises(vai_q_tensorflow.QuantizeError) as raised:
            vai_q_tensorflow.quantize_train(source, trainings.config(tmp_path))
        assert raised.value.code == 'Quantize_TF1_Invalid_Input'
