"""The pages of docs/start run as they stand, and give the files and accuracies that other pages build on."""
import os
import re

from tests.docs.pages import finished, run_page

_ACCURACY = re.compile(r'([\d.]+)% right: (\S+)')


def test_first_model(forked_python):
    directory, printed = finished('start/first_model.md', forked_python)
    accuracies = {os.path.dirname(path): float(percent) for percent, path in _ACCURACY.findall('\n'.join(printed.values()))}
    floating, eight, four, trained = (accuracies[name] for name in ('', 'quantize_results', 'results_4_bits', 'qat_results'))
    assert floating > 94 and abs(floating - eight) < 1 and four < floating - 1.5, accuracies
    assert trained > four + 1, accuracies
    assert {'digits.py', 'network.py', 'train.py', 'calibration.py', 'evaluate.py', 'float.pb', 'float', 'quantized',
            'quantize_results', 'results_4_bits', 'qat_results'} <= set(os.listdir(directory))
    assert os.path.exists(os.path.join(directory, 'float', 'model.ckpt.index'))


def test_from_keras(tmp_path, forked_python):
    printed = '\n'.join(run_page('start/from_keras.md', tmp_path, forked_python).values())
    found = {path: (float(loss), float(percent)) for path, loss, percent in re.findall(
        r'^(\S+): loss ([\d.]+), ([\d.]+)% right', printed, re.MULTILINE)}
    assert found['Keras'] == found['keras.pb'], 'the frozen graph computes what Keras does'
    quantized = found['keras_results/quantize_eval_model.pb']
    assert quantized[1] > 91 and abs(quantized[1] - found['Keras'][1]) < 1 and abs(quantized[0] - found['Keras'][0]) < 0.03
