"""analyze: its output and its errors."""
import json
import os

from tests.command_line.conftest import QUANTIZE
from vai_q_tf import errors


def test_analyze(command, workplace):
    assert command('quantize', **QUANTIZE)[0] == 0
    model = os.path.join('quantize_results', 'quantize_eval_model.pb')
    status, out, err = command('analyze', input_frozen_graph=model, float_graph='float.pb', input_fn=QUANTIZE['input_fn'],
                               analyze_iter=2)
    assert status == 0 and 'WARNING' not in err, err
    lines = out.splitlines()
    assert lines[0] == '{}: 4 quantized tensors against float.pb, on 2 batches.'.format(model)
    assert lines[-1] == 'The analysis is in {}'.format(os.path.join('.', 'quantize_results', 'analyze.json'))
    assert not any(line.startswith('Likely: ') for line in lines)
    (workplace / 'dark_images.py').write_text(
        'from calib_module import calib as right\n\n\ndef calib(step):\n    return {"input": right(step)["input"] / 255}\n')
    darker = command('analyze', input_frozen_graph=model, float_graph='float.pb', input_fn='dark_images.calib')[1].splitlines()
    assert darker[-2].startswith('Likely: input: these data have another range') and not darker[-3].startswith('Likely')
    assert len(json.loads((workplace / 'quantize_results' / 'analyze.json').read_text())['tensors']) == 4
    without_data = command('analyze', input_frozen_graph=model)[1]
    assert without_data.startswith('{}: 2 quantized tensors against the model'.format(model))
    assert '\nNot compared: input/aquant and 1 more: no input_fn is given.\n' in without_data


def test_what_it_refuses(refused, workplace):
    refused('analyze', words=[errors.INVALID_INPUT, '--input_frozen_graph'])
    refused('analyze', input_frozen_graph='float.pb', words=[errors.NOT_QUANTIZED])
    assert not (workplace / 'quantize_results').exists()
