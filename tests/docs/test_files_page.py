"""The page on files has every name of a file in the code, and the fields of the files that no example writes."""
import ast
import os
import re

import pytest

from tests.docs.markdown import rows, section
from tests.docs.pages import Page
from tests.forks import ROOT
from vai_q_tf.hooks import exporter
from vai_q_tf.html_report import page as html_page
from vai_q_tf.ptq.convert import TARGETS
from vai_q_tf.qat.reading.history import PositionChange
from vai_q_tf.report.bits.results import TensorCost, WeightChoice, WideChoice

TEXT = Page('reference/files.md').text
_FILE = re.compile(r'[\w{}]+\.(?:json|jsonl|pb|yaml|html|onnx)$')
_NOT_WRITTEN = {'page.html', 'saved_model.pb', 'MODEL.pb', 'FLOAT.pb', 'ai.onnx'}  # a template, inputs, words, a domain


def _strings():
    """The strings in the code of the package, without docstrings."""
    for folder, _, names in os.walk(os.path.join(ROOT, 'vai_q_tf')):
        for name in (name for name in names if name.endswith('.py')):
            with open(os.path.join(folder, name), encoding='utf-8') as stream:
                for node in ast.walk(ast.parse(stream.read())):
                    if isinstance(node, ast.Str):
                        yield node.s


def test_each_file_name_of_the_code_is_listed():
    listed = {name for cells in re.findall(r'^\| (`[^|]+) \|', TEXT.partition('\n## ')[0], re.MULTILINE)
              for name in re.findall(r'`([^`]+)`', cells)}
    names = {re.sub(r'<\w+>(?:_<\w+>)*', '{}', os.path.basename(name)) for name in listed}
    written = {name for name in _strings() if _FILE.match(name)} - _NOT_WRITTEN
    assert len(written) > 12 and written - {'_report.html'} <= names and '{}_report.html' in names
    assert {'quantize_eval_model.pb', 'quantize_eval_model.onnx', html_page.REPORT_FILE} <= names
    for folder in ('quantize_train/quantize_train.ckpt.meta', 'quantize_eval/quantize_eval.ckpt.meta', 'averaged/'):
        assert folder in listed
    for _, kind in TARGETS.values():
        assert '`{}`'.format(kind) in TEXT


@pytest.mark.parametrize('choice', [WeightChoice, WideChoice])
def test_the_fields_of_a_choice_of_bits(choice):
    listed = rows(section(TEXT, '## sensitivity.json'), 'key')
    assert set(choice._fields) <= set(re.findall(r'`(\w+)`', listed['choice']['value']))
    assert set(TensorCost._fields) <= set(re.findall(r'`(\w+)`', listed['tensors']['value']))


def test_the_files_of_a_training():
    listed = rows(section(TEXT, '## JSON files of a training'), 'file')
    fields = {file: re.findall(r'`(\w+)`', row['keys']) for file, row in listed.items()}
    assert sorted(fields['quantize_position_history.jsonl']) == sorted(PositionChange._fields)
    with open(exporter.__file__, encoding='utf-8') as stream:
        best, = [node.value for node in ast.walk(ast.parse(stream.read()))
                 if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and node.targets[0].id == 'best']
    assert fields[exporter.BEST_FILE] == [key.s for key in best.keys]
