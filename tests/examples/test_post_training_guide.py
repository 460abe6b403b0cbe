"""The guide to post-training quantization: its examples run unchanged, and its tables are complete."""
import importlib.util
import re

import pytest

from tests.examples.blocks import Document, run_sh
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.options import CONFIG, ROWS
from vai_q_tf.graph import traits
from vai_q_tf.passes import pipeline

GUIDE = Document('docs', 'post_training_quantization.md')
ONNX = '--output_format onnx'


@pytest.fixture(scope='module')
def ran(tmp_path_factory, forked_python):
    """(directory, stdout, stderr) of all command lines of the guide but those for ONNX."""
    directory = tmp_path_factory.mktemp('guide')
    GUIDE.write_files(directory)
    return (directory,) + run_sh([block for block in GUIDE.sh if ONNX not in block], directory, forked_python)


def test_the_commands_print_what_the_guide_shows(ran):
    _, printed, _ = ran
    lines = [line for block in GUIDE.output for line in block.splitlines() if line != '...']
    assert len(lines) == 12
    assert set(lines) <= set(printed.splitlines())


def test_the_summary_looks_as_the_guide_shows(ran):
    """The numbers are those of one training."""
    block = GUIDE.text.partition('    Summary: ')[2].partition('\n\n')[0]
    shown = [' '.join(line.split()) for line in block.splitlines()]
    fixed = shown[:1] + [line for line in shown if not re.search(r'\d|---|are fitted', line)]
    printed = ' '.join(ran[2].split())
    assert len(fixed) >= 7 and [line for line in fixed if line not in printed] == []


def test_the_models_are_as_good_as_the_float_network(ran):
    _, printed, log = ran
    right = re.findall(r'^(\S+): (\d+\.\d)% right$', printed, re.MULTILINE)
    assert [path for path, _ in right] == ['float.pb', 'quantize_results/quantize_eval_model.pb']
    assert min(float(percent) for _, percent in right) > 95
    assert 'will not accept' not in log


@pytest.mark.parametrize('path', [
    'quantize_results/quantize_eval_model.pb', 'finetuned/quantize_eval_model.pb', 'quantize_results/converted_model_fp16.pb',
    'dump/dump_results.json', 'dump/dump_results_weights/conv1_kernel_wquant.bin',
    'dump/dump_results_0/conv1_relu_aquant.txt', 'dump/dump_results_1/conv1_relu_aquant.txt',
    'dump/dump_results_1/conv1_relu_aquant_int8.txt', 'dump/dump_results_2/conv1_kernel_wquant_int8.bin',
    'quantize_results/quantize_train/quantize_train.ckpt.meta', 'quantize_results/quantize_train/quantize_train.ckpt.index',
    'quantize_results/sensitivity.json', 'fewer_bits/quantize_eval_model.pb', 'from_python/sensitivity.json',
    'from_python/quantize_eval_model.pb', 'from_python/dump/dump_results_0', 'from_python/converted_model_fp16.pb'])
def test_the_files_of_the_guide_are_there(ran, path):
    assert (ran[0] / path).exists()


def test_the_deployed_files_are_there(ran):
    names = sorted(re.sub(r'\d{14}', '<date>', path.name) for path in (ran[0] / 'quantize_results' / 'deploy').iterdir())
    assert names == ['latest.json', 'quantize_config.yaml', 'quantize_eval_graph_120_<date>.pb',
                     'quantize_eval_model_120_<date>.pb']


@pytest.mark.skipif(importlib.util.find_spec('tf2onnx') is None, reason='no tf2onnx')
def test_the_onnx_model(ran, forked_python):
    directory = ran[0]
    run_sh([block for block in GUIDE.sh if ONNX in block], directory, forked_python)
    import onnx
    graph = onnx.load(str(directory / 'quantize_results' / 'quantize_eval_model.onnx')).graph
    assert [node.name for node in graph.input] == ['net_in:0']
    assert [node.name for node in graph.output] == ['logits/BiasAdd/aquant:0']


_BY_THEMSELVES = {'--bias_bit': 'that of weights', '--positions_by': 'what the effort does', '--fast_ft_lr': ''}


def test_all_options_are_listed_with_their_defaults():
    options = {'--' + option.name: option for option in ROWS}
    listed = GUIDE.rows(r'--\w+')
    assert sorted(listed) == sorted(options)
    config = QuantizeConfig()
    for name, option in options.items():
        default = getattr(config, option.name) if option.kind == CONFIG else option.default
        if default is None:
            assert listed[name][0] == _BY_THEMSELVES[name], name
            continue
        shown = 'off' if default is False else '' if default in ('', []) else '`{}`'.format(default)
        assert listed[name][0] == shown, name


def test_all_errors_are_listed():
    codes = sorted(value for name, value in vars(errors).items() if name.isupper())
    assert sorted(GUIDE.rows(r'Quantize_TF1_\w+')) == codes


def test_all_ops_are_listed():
    table = GUIDE.text.partition('## What is quantized')[2].partition('\n\nAn op')[0]
    listed = [sorted(re.findall(r'`(\w+)`', row)) for row in table.splitlines() if '`' in row]
    assert listed == [sorted(op for op, row in traits.TRAITS.items() if row.kind == kind)
                      for kind in (traits.WEIGHTED, traits.VALUE, traits.SHARED, traits.FORWARDS)]


def test_all_steps_are_listed():
    text = GUIDE.text.partition('## What happens to the graph')[2].partition('\n## ')[0]
    steps = re.findall(r'^\| `(\w+)`', text, re.MULTILINE)
    names = [step.run.__name__ for step in pipeline.CLEAN_UP + (pipeline.CONSTANTS,) + pipeline.FOLDING + pipeline.DPU]
    simulated = slice(names.index('mean_to_average_pool') + 1, names.index('scale_hard_sigmoid') + 1)
    del names[simulated]
    assert steps == ['resolve_switches', 'partition'] + names
