"""The examples of the reference run in one directory, in the order in which the pages need each other's files."""
import importlib.util
import json
import os
import re

import pytest

from tests.docs.markdown import rows, section, tables
from tests.docs.pages import Page, pages
from vai_q_tf.configuration.options import COMMANDS
from vai_q_tf.configuration.read_file import read_config_file

_ORDER = ('quantize', 'dump', 'inspect', 'sensitivity', 'analyze', 'compare', 'deploy', 'update', 'index')
FOLDER = 'reference/commands/'
FILES = Page('reference/files.md').text
_REPORT = ('bokeh', 'jinja2', 'grandalf')


@pytest.fixture(scope='module')
def ran(tmp_path_factory, forked_python):
    """The directory after the examples of all pages but that of `report`."""
    directory = tmp_path_factory.mktemp('commands')
    for name in _ORDER:
        Page(FOLDER + name + '.md').run(directory, forked_python)
    return directory


def test_each_command_has_a_page_with_an_example():
    assert set(pages(FOLDER)) == {FOLDER + name + '.md' for name in _ORDER + ('report',)}
    assert set(_ORDER) | {'report'} == {name for name, _ in COMMANDS} | {'index'}
    for name, _ in COMMANDS:
        assert any('vai_q_tensorflow ' + name in block.code for block in Page(FOLDER + name + '.md').blocks
                   if block.language == 'sh'), name


def test_the_files_of_the_pages_are_there(ran):
    results = ran / 'quantize_results'
    for name in ('quantize_eval_model.pb', 'quantize_summary.json', 'quantize_config.yaml', 'sensitivity.json', 'analyze.json',
                 'compare.json', 'quantize_train/quantize_train.ckpt.meta', 'quantize_train_graph.pb'):
        assert (results / name).exists(), name
    deployed = sorted(re.sub(r'\d{14}', '<date>', name) for name in os.listdir(str(results / 'deploy')))
    assert deployed == ['latest.json', 'quantize_config.yaml', 'quantize_eval_graph_3_<date>.pb',
                        'quantize_eval_model_3_<date>.pb']


def test_a_run_leaves_a_file_that_repeats_it(ran):
    values = read_config_file(str(ran / 'quantize_results' / 'quantize_config.yaml'))
    assert values['command'] == 'quantize' and values['input_fn'] == 'calibration.calib_input'


def test_the_comparison_found_no_difference(ran):
    assert json.loads((ran / 'quantize_results' / 'compare.json').read_text())['first'] is None


@pytest.mark.parametrize('name', ['quantize_summary.json', 'analyze.json', 'sensitivity.json', 'compare.json'])
def test_the_page_on_files_lists_the_keys(ran, name):
    found = json.loads((ran / 'quantize_results' / name).read_text())
    keys, *of_tensors = [[key for row in table[1:] for key in re.findall(r'`(\w+)`', row[0])]
                         for table in tables(section(FILES, '## ' + name))]
    assert sorted(keys) == sorted(found)
    if of_tensors:
        assert sorted(of_tensors[0]) == sorted(found['tensors'][0])


def test_the_page_on_files_lists_the_parts_of_a_summary(ran):
    summary = json.loads((ran / 'quantize_results' / 'quantize_summary.json').read_text())
    listed = {name: re.findall(r'`(\w+)`', row['value'])
              for name, row in rows(section(FILES, '## quantize_summary.json'), 'key').items()}
    assert set(summary['coverage']) <= set(listed['coverage'])
    assert set(summary['inputs'][0]) == set(listed['inputs']) and set(summary['aids'][0]) == set(listed['aids'])
    assert set(summary['worst'][0]) | {'histogram'} == {
        key for row in tables(section(FILES, '## analyze.json'))[1][1:] for key in re.findall(r'`(\w+)`', row[0])}


def test_the_page_on_files_lists_the_keys_of_dumps_and_trainings(ran):
    tensor = json.loads((ran / 'dump' / 'dump_results.json').read_text())['net_in/aquant']
    last = section(FILES, '## Dumps').partition('`dump_results.json` has')[2]
    assert set(tensor) == set(re.findall(r'`(\w+)`', last))
    latest = json.loads((ran / 'quantize_results' / 'deploy' / 'latest.json').read_text())
    listed = rows(section(FILES, '## JSON files of a training'), 'file')['latest.json']
    assert set(latest) == set(re.findall(r'`(\w+)`', listed['keys']))


def test_the_layout_of_a_dump(ran):
    written = {os.path.relpath(os.path.join(folder, name), str(ran / 'dump'))
               for folder, _, names in os.walk(str(ran / 'dump')) for name in names}
    table, = tables(section(FILES, '## Dumps'))
    for batch, convention in zip(('1', '0'), table[1:]):
        for cell, node in zip(convention[2:], ('conv1_relu_aquant', 'conv1_kernel_wquant')):
            name = cell.strip('`').replace('<n>', batch).replace('<node>', node)
            assert {name + '.bin', name + '.txt'} <= written, name


@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in _REPORT), reason='the report needs other packages')
def test_the_page_on_the_report(ran, forked_python):
    Page(FOLDER + 'report.md').run(ran, forked_python)
    assert (ran / 'quantize_results' / 'quantize_eval_model_report.html').exists()
