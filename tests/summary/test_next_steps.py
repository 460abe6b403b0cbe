"""Proposals for what to do next."""
from tests.summary.test_text import EMPTY
from vai_q_tf.analysis.results import TensorError
from vai_q_tf.lint.lint import Finding
from vai_q_tf.summary.next_steps import next_steps
from vai_q_tf.summary.results import AidSummary

MADE = EMPTY._replace(files=(('model', 'out dir/m.pb'),), effort='standard')


def _steps(**fields):
    return next_steps(MADE._replace(**fields), 'float.pb', 'm.f')


def test_the_worst_layer_can_always_be_searched():
    command = "vai_q_tensorflow analyze --input_frozen_graph 'out dir/m.pb' --float_graph float.pb --input_fn m.f"
    command += " --output_dir 'out dir'"
    assert _steps() == ('To find the layer that loses most: ' + command,)
    default = MADE._replace(files=(('model', './quantize_results/m.pb'),))
    assert next_steps(default, '', '')[-1].endswith('--float_graph FLOAT.pb --input_fn MODULE.FUNCTION')
    assert next_steps(MADE._replace(files=(('model', 'm.pb'),)), '', '')[-1].endswith('MODULE.FUNCTION --output_dir .')
    assert next_steps(MADE._replace(files=(('model', 'm.onnx'),)), 'float.pb', 'm.f') == (), 'analyze reads no onnx'


def test_accuracy_may_not_suffice():
    bad, good = (AidSummary('all together', db, db, False, 'no gain') for db in (19.9, 20.1))
    assert 'too low: --effort high, then quantization-aware training' in _steps(aids=(bad,))[0]
    assert _steps(aids=(bad,), effort='high')[0] == 'If accuracy is too low: quantization-aware training.'
    assert len(_steps(aids=(good,))) == 1
    assert '--effort standard, then' in _steps(effort='fast')[0]
    assert _steps(effort='fast', obstacle='few images')[0] == 'If accuracy is too low: quantization-aware training.'


def test_warnings_come_first():
    assert _steps(warnings=('odd',))[0] == 'Resolve the warnings first.'
    assert '--strict' in _steps(findings=(Finding('r', 'n', ''),))[0]


def test_weights_a_few_of_which_are_far_larger():
    even, uneven = (TensorError(name, name, 'weight', 8, 2, -1.0, 30.0, 0.0, zeroed, 33.0, 33.0)
                    for name, zeroed in (('even', 0.02), ('uneven', 0.61)))
    assert _steps(worst=(even, uneven, uneven))[0].startswith('uneven: 61% of the weights round to 0')
    assert len(_steps(worst=(even, uneven, uneven))) == len(_steps(worst=(even,))) + 1
