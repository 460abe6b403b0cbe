"""Input functions as users write them, and every way in which they can be wrong."""
import sys
import textwrap

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.errors import QuantizeError
from vai_q_tf.frozen.input_fn import InputReader, load_input_fn


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into a new working directory; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    known = set(sys.modules)

    def write(code, name='calib_module'):
        path = tmp_path / (name.replace('.', '/') + '.py')
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(code))
        return name
    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


def graph_def(dtype=tf.float32, shape=(None, 4, 4, 3), more=()):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(dtype, shape, name='input')
        out = tf.identity(x, name='out')
        for name in more:
            with tf.control_dependencies([tf.placeholder(tf.bool, [], name=name)]):
                out = tf.identity(out, name='after_' + name)
        tf.identity(out, 'last')
        tf.placeholder(tf.float32, name='labels')
        tf.placeholder_with_default(1.0, [], name='keep_prob')
        return graph.as_graph_def()


def reader(values, graph=None, fetches=('last',), **kwargs):
    function = values if callable(values) else lambda iter: values
    return InputReader(function, graph or graph_def(), fetches, 5, **kwargs)


def images(*shape):
    return np.random.RandomState(0).uniform(-1, 1, shape or (2, 4, 4, 3))


def refused(call, *words):
    with pytest.raises(QuantizeError) as caught:
        call()
    text = str(caught.value)
    assert caught.value.code == errors.INVALID_INPUT_FN and '\n' not in text
    assert all(word in text for word in words), text
    return caught.value


# finding the function

def test_a_function_in_the_working_directory(module):
    module('def calib(iter): return {"x": iter}')
    assert load_input_fn('calib_module.calib')(3) == {'x': 3}


def test_packages_and_bound_methods(module):
    module('', 'package.__init__')
    module('''
        class Reader:
            def read(self, step): return step + 1
        reader = Reader()
        calib = reader.read
        ''', 'package.data')
    for name in ('package.data.calib', 'package.data.reader.read'):
        assert load_input_fn(name)(1) == 2


@pytest.mark.parametrize('parameters', ['iter', 'iter_num', 'step, *args', '*args', '*, iter', '*, step', '*, iter, size=4',
                                        '*, iter, **kwargs', 'i, size=4'])
def test_every_kind_of_parameter(module, parameters):
    module('def calib({}): return locals()'.format(parameters))
    got = load_input_fn('calib_module.calib')(7)
    assert 7 in got.values() or (7,) in got.values()


@pytest.mark.parametrize('parameters', ['', '*, width, height'])
def test_a_function_that_cannot_take_the_step(module, parameters):
    module('def calib({}): return {{}}'.format(parameters))
    refused(lambda: load_input_fn('calib_module.calib'), 'it must take the number of the step')


def test_flags_are_parsed_when_the_module_reads_them(module, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['vai_q_tensorflow', 'quantize', '--input_fn', 'calib_module.calib'])
    module('''
        import tensorflow as tf
        tf.app.flags.DEFINE_integer('calib_module_size', 32, '')
        SIZE = tf.app.flags.FLAGS.calib_module_size
        def calib(iter): return SIZE
        ''')
    assert load_input_fn('calib_module.calib')(0) == 32


@pytest.mark.parametrize('name', ['', None, 'calib', '.calib', 'calib_module.', 'a..b'])
def test_a_name_without_module_or_function(name):
    refused(lambda: load_input_fn(name), 'module_name.function_name')


def test_a_module_that_is_not_there(module, tmp_path):
    refused(lambda: load_input_fn('no_such_module.calib'), "There is no module 'no_such_module'", str(tmp_path))


@pytest.mark.parametrize('code, words', [
    ('import no_such_library', ['ModuleNotFoundError', 'no_such_library', 'line 1']),
    ('x = 1\n1 / 0', ['ZeroDivisionError', 'line 2']),
    ('def calib(iter:\n', ['SyntaxError', 'line 1']),
    ('\nimport sys\nsys.exit(2)', ['SystemExit', 'line 3']),
    ('import numpy as np\n\nx = np.zeros(3).reshape(2, 2)', ['ValueError', 'cannot reshape', 'line 3']),
])
def test_a_module_that_fails(module, code, words):
    module(code)
    error = refused(lambda: load_input_fn('calib_module.calib'), 'calib_module.py', *words)
    assert error.__cause__ is not None


def test_a_module_of_a_package_that_fails(module):
    module('', 'package.__init__')
    module('import no_such_library', 'package.data')
    refused(lambda: load_input_fn('package.data.calib'), "Importing 'package.data' failed", "No module named 'no_such_library'")


def test_a_name_that_is_missing_or_not_callable(module):
    module('size = 4\ndef calib_input(iter): return {}')
    refused(lambda: load_input_fn('calib_module.calib_inputs'), 'calib_inputs', "did you mean 'calib_input'")
    refused(lambda: load_input_fn('calib_module.size'), 'is a int; expected a function')


def test_the_graph_that_it_runs_under(module):
    module('''
        import tensorflow.compat.v1 as tf
        raw = tf.placeholder(tf.float32, [4, 4, 3])
        scaled = raw * 2
        def calib(iter):
            with tf.Session() as session:
                more = scaled + 1
                return {'input': [session.run(more, {raw: [[[iter] * 3] * 4] * 4})]}
        ''')
    outer = tf.get_default_graph()
    function = load_input_fn('calib_module.calib')
    outer.finalize()
    data = [InputReader(function, graph_def(), ['last'], 2).feed(step)['input:0'] for step in range(2)]
    assert [float(batch[0, 0, 0, 0]) for batch in data] == [1, 3]
    assert tf.get_default_graph() is outer and not outer.get_operations()


@pytest.mark.parametrize('code, first', [
    ('tf.reset_default_graph(); step = tf.placeholder(tf.float32, [])\ncalls = tf.Session()', 1),
    ('calls = tf.InteractiveSession(); step = tf.placeholder(tf.float32, [])', 1),
    ('calls = tf.Session().__enter__(); step = tf.placeholder(tf.float32, [])', 0),
    ('step = tf.placeholder(tf.float32, []); calls = tf.Session(); tf.get_default_graph().finalize()', 0)])
def test_a_module_that_resets_the_graph_or_enters_a_session(module, code, first):
    module('import tensorflow.compat.v1 as tf\n' + code + """
def calib(iter):
    if {0}:
        inner = tf.InteractiveSession()
        assert inner is tf.get_default_session()
        more = tf.constant({0}.).eval()
        tf.reset_default_graph()
    return {{'input': calls.run(step, {{step: iter}}) + (more if {0} else 0)}}
""".format(first))
    outside = tf.get_default_graph(), tf.get_default_session()
    function = load_input_fn('calib_module.calib')
    with tf.Session() as session:
        assert [float(function(step)['input']) for step in range(2)] == [first, 1 + first]
        assert tf.get_default_session() is session
    assert (tf.get_default_graph(), tf.get_default_session()) == outside


# its results

@pytest.mark.parametrize('value', [images().astype(np.float32), images(), list(images()), images().tolist(),
                                   [image.astype(np.float32) for image in images()]])
def test_arrays_and_lists_of_arrays_in_the_type_of_the_placeholder(value):
    feed = reader({'input': value, 'labels': 'whatever', 'keep_prob': 'unused'}).feed(0)
    assert list(feed) == ['input:0'] and feed['input:0'].dtype == np.float32
    np.testing.assert_array_equal(feed['input:0'], images().astype(np.float32))


def test_names_of_tensors_and_scalars():
    feed = reader({'input:0': images(), 'training': False}, graph_def(more=['training'])).feed(1)
    assert set(feed) == {'input:0', 'training:0'}
    assert feed['training:0'].dtype == bool and feed['training:0'].shape == ()


def test_values_are_converted_as_tensorflow_converts_them():
    value = {'input': np.array([0.1, 1e-50, -3.3, 1e30], np.float64)}
    graph = graph_def(shape=None)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph, name='')
        ours, theirs = session.run('last:0', reader(value, graph).feed(0)), session.run('last:0', {'input:0': value['input']})
    np.testing.assert_array_equal(ours, theirs)


def test_a_placeholder_upstream_of_a_control_input_is_needed():
    assert reader({}, graph_def(more=['training'])).placeholders == ('input', 'training')
    assert reader({}, graph_def(more=['training']), fetches=['out:0']).placeholders == ('input',)


@pytest.mark.parametrize('value, words', [
    (None, ['returned None', 'expected a dict']),
    ([images()], ['type list', 'expected a dict']),
    ({}, ["'input'", 'empty dict']),
    ({'labels': images()}, ["'input'", "'labels'"]),
    ({'inputs': images()}, ["'inputs'", 'not in the graph', "did you mean 'input'?"]),
    ({'zzz': images()}, ["'zzz'", "placeholders are 'input'"]),
    ({'input': images(), 'out': images()}, ["'out'", 'Identity']),
    ({'input': images(), 'input:0': images()}, ["'input'", 'twice']),
    ({3: images()}, ['the key 3']),
    ({'input': images(2, 4, 4)}, ["'input'", '[2, 4, 4]', '[?,4,4,3]']),
    ({'input': images(2, 3, 4, 4)}, ["'input'", '[2, 3, 4, 4]', '[?,4,4,3]']),
    ({'input': 3.0}, ['[]', '[?,4,4,3]']),
    ({'input': images(0, 4, 4, 3)}, ["'input'", 'empty']),
    ({'input': []}, ["'input'", 'empty']),
    ({'input': [images(4, 4, 3), images(5, 4, 3)]}, ["'input'", '[4, 4, 3]', '[5, 4, 3]']),
    ({'input': [[1.0, 2.0], [3.0]]}, ["'input'", 'different shapes', '[1]', '[2]']),
    ({'input': None}, ["for 'input' is None"]),
    ({'input': {'a': 1}}, ["for 'input' is a value of type dict"]),
    ({'input': np.full((2, 4, 4, 3), 'a.png')}, ["'input'", 'str', 'float32']),
    ({'input': np.full((2, 4, 4, 3), np.nan)}, ["'input'", 'NaN']),
    ({'input': np.full((2, 4, 4, 3), -np.inf)}, ["'input'", 'infinity']),
    ({'input': np.full((2, 4, 4, 3), 1e39)}, ["'input'", 'float32']),
    ({'input': images() + 1j}, ["'input'", 'complex']),
])
def test_wrong_data_names_step_and_placeholder(value, words):
    refused(lambda: reader(value).feed(3), 'step 3', *words)


def test_a_tensor_instead_of_its_value():
    refused(lambda: reader(lambda iter: {'input': tf.zeros([2, 4, 4, 3])}).feed(0), "'input'", 'Tensor')


@pytest.mark.parametrize('dtype, value, fits', [
    (tf.uint8, np.full((1, 4, 4, 3), 7.0), True), (tf.uint8, np.full((1, 4, 4, 3), 0.5), False),
    (tf.uint8, np.full((1, 4, 4, 3), 256), False), (tf.uint8, np.full((1, 4, 4, 3), -1), False),
    (tf.int32, np.full((1, 4, 4, 3), 2**31), False), (tf.int64, np.full((1, 4, 4, 3), 2**31), True),
    (tf.float16, np.full((1, 4, 4, 3), 1e5), False), (tf.string, np.full((1, 4, 4, 3), b'x'), True),
    (tf.string, np.full((1, 4, 4, 3), 'x'), True), (tf.string, np.full((1, 4, 4, 3), 1), False)])
def test_types_that_hold_the_values_or_not(dtype, value, fits):
    feeder = reader({'input': value}, graph_def(dtype))
    if fits:
        feeder.feed(0)
    else:
        refused(lambda: feeder.feed(0), "'input'", dtype.name)


def test_shapes_beyond_those_of_the_graph():
    feeder = reader({'input': images(2, 8, 8, 3)}, graph_def(shape=[None, None, None, 3]),
                    shapes={'input': [1, 8, 8, 3], 'out': [4]})
    assert feeder.feed(0)['input:0'].shape == (2, 8, 8, 3)
    for shape in (None, [None, None, None, 3]):
        wrong = reader({'input': images(2, 6, 8, 3)}, graph_def(shape=shape), shapes={'input': [-1, 8, 8, 3]})
        refused(lambda wrong=wrong: wrong.feed(0), '[2, 6, 8, 3]', '[?,8,8,3]')
    for shape in ([1, 8, 8], [1, 8, 8, 1]):
        with pytest.raises(QuantizeError) as caught:
            reader({}, graph_def(shape=[None, None, None, 3]), shapes={'input': shape})
        assert caught.value.code == errors.LENGTH_MISMATCH


def ends_with(error):
    def calib(iter):
        raise error
    return calib


@pytest.mark.parametrize('error', [StopIteration(), IndexError('list index out of range'),
                                   tf.errors.OutOfRangeError(None, None, 'End of sequence')])
def test_running_out_of_data(error):
    refused(lambda: reader(ends_with(error)).feed(4), 'step 4 of 5', 'out of data', 'calib_iter', 'test_input_fn.py, line')


def test_slices_beyond_the_end_of_the_data():
    refused(lambda: reader({'input': images()[:0]}).feed(4), 'step 4 of 5', 'empty', 'lower calib_iter')
    first = refused(lambda: reader({'input': images()[:0]}).feed(0), 'step 0', 'empty')
    assert 'calib_iter' not in str(first)


@pytest.mark.parametrize('error', [KeyError('image'), FileNotFoundError('a.png'), SystemExit(1), tf.errors.NotFoundError(
    None, None, 'No such file')])
def test_exceptions_are_wrapped(error):
    wrapped = refused(lambda: reader(ends_with(error)).feed(2), 'step 2', type(error).__name__, 'test_input_fn.py, line')
    assert wrapped.__cause__ is error


def test_an_interrupt_is_not_wrapped():
    with pytest.raises(KeyboardInterrupt):
        reader(ends_with(KeyboardInterrupt())).feed(0)


def test_a_learning_phase_that_the_model_no_longer_has():
    """The input function of the calibration also serves compare, analyze and dump."""
    model = graph_def()
    batch = {'input': np.ones((1, 4, 4, 3), np.float32)}
    with pytest.raises(QuantizeError, match="'training', which is not in the graph"):
        InputReader(lambda step: dict(batch, training=False), model, ['last'], 1).feed(0)
    model.node.add(name='out/aquant', op='FixNeuron', input=['out'])
    for key, value in (('training', False), ('training:0', np.array(False))):
        fed = dict(batch, **{key: value})
        assert set(InputReader(lambda step, fed=fed: fed, model, ['last'], 1).feed(0)) == {'input:0'}
    with pytest.raises(QuantizeError, match="'training', which is not in the graph"):
        InputReader(lambda step: dict(batch, training=[False]), model, ['last'], 1).feed(0)
