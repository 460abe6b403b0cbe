"""Finding, checking and loading the compiled library."""
import pytest

from tests.forks import ROOT, run_each
from vai_q_tf import errors
from vai_q_tf.ops import library


def test_library_that_was_not_built_says_how_to_build_it(tmp_path):
    with pytest.raises(errors.QuantizeError, match='make -C kernels') as error:
        library._load(str(tmp_path / 'missing.so'))
    assert error.value.code == errors.MISSING_LIBRARY


@pytest.mark.parametrize('content', [b'', b'vai_q_tf_ops{interface=0;tensorflow=1.15.5;cuda=none}'])
def test_library_of_another_version_is_not_loaded(tmp_path, content):
    path = tmp_path / 'library.so'
    path.write_bytes(b'\x7fELF' + content)
    with pytest.raises(errors.QuantizeError, match='op interface') as error:
        library._load(str(path))
    assert error.value.summary == 'Wrong version'


def test_library_for_another_tensorflow_says_which(tmp_path):
    path = tmp_path / 'library.so'
    path.write_bytes(b'not loadable vai_q_tf_ops{interface=%d;tensorflow=1.14.0;cuda=none}' % library._INTERFACE)
    with pytest.raises(errors.QuantizeError, match=r'built for TensorFlow 1\.14\.0 and does not load into') as error:
        library._load(str(path))
    assert error.value.code == errors.MISSING_LIBRARY


def test_library_was_built_for_this_tensorflow():
    assert library._build_info(library._PATH)['tensorflow'].startswith('1.15.')


def test_loading_twice_gives_the_same_module():
    assert library.load() is library.load()


_SECOND_LOADS = {
    'fresh import':
        'import vai_q_tf.ops as a; a.load_library(); [sys.modules.pop(m) for m in list(sys.modules) if "vai_q_tf" in m];'
        'import vai_q_tf.ops as b; assert a is not b; b.load_library()',
    'reload':
        'import vai_q_tf.ops as ops, importlib; ops.load_library();'
        '[importlib.reload(sys.modules["vai_q_tf.ops." + m]) for m in ("library", "fix_neuron")]',
    'loaded by somebody else': 'import vai_q_tf.ops.library as l; tf.load_op_library(l._PATH); l.load()'}
_IMPORT = 'import vai_q_tf.ops, vai_q_tf.ops.library as library; assert library._loaded is None'


@pytest.fixture(scope='module')
def printed(tmp_path_factory):
    """{name: output} of the programs _SECOND_LOADS, each with the value of an op, and of _IMPORT."""
    then = ('; import vai_q_tf.ops as ops; y = ops.fix_neuron(tf.constant([0.3]), 1, 1); dy = tf.gradients(y, y);'
            'print("result", tf.compat.v1.Session().run(y).tolist())')
    codes = {name: (ROOT, 'import sys; import tensorflow as tf; ' + code + then) for name, code in _SECOND_LOADS.items()}
    return run_each(dict(codes, import_only=(ROOT, _IMPORT)), tmp_path_factory.mktemp('loads'))


@pytest.mark.parametrize('name', sorted(_SECOND_LOADS))
def test_second_load_in_one_process(printed, name):
    assert 'result [0.0]' in printed[name]


def test_importing_the_package_does_not_load_the_library(printed):
    assert printed['import_only'] == 'done\n'
