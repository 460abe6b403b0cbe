"""The generated pages of the reference are up to date, and complete against the code, read without the generator."""
import ast
import os
import re

import pytest

from docs.generator.contents import REFERENCE
from docs.generator.contents import pages as generated
from tests.docs.markdown import rows, section, tables
from tests.docs.pages import Page, run_page
from tests.forks import ROOT
from vai_q_tf import errors
from vai_q_tf.command_line.parse import parse
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import COMMANDS, EVERYWHERE, EXIT_STATUSES, REQUIRED, ROWS, USED
from vai_q_tf.dpu import COMPILER_OPS, TARGETS
from vai_q_tf.graph import traits
from vai_q_tf.lint import lint, number_rules
from vai_q_tf.passes import pipeline

PAGES = generated()
# Options whose default depends on others: the words that explain it.
_DEPENDS = {'bias_bit': 'that of weights', 'positions_by': '`--effort` fast', 'fast_ft_lr': '1/100', 'tolerance': '0, or 1',
            'gpu': 'CUDA_VISIBLE_DEVICES', 'input_shapes': 'the graph', 'float_graph': 'FixNeurons'}


def read(path):
    return Page(os.path.join('reference', path)).text


@pytest.mark.parametrize('path', sorted(PAGES))
def test_the_committed_page_is_what_the_code_makes(path):
    assert read(path) == PAGES[path], 'run `make reference`'


@pytest.mark.parametrize('path', sorted(PAGES))
def test_a_page_is_short_and_in_the_navigation(path):
    text = read(path)
    assert text.count('\n') <= 250
    with open(os.path.join(ROOT, 'mkdocs.yml'), encoding='utf-8') as stream:
        assert 'reference/{}\n'.format(path) in stream.read()
    for line in text.splitlines():
        assert len(line) <= 128 or line.startswith(('|', 'parts [', 'QuantizeConfig(')), line


@pytest.mark.parametrize('path', sorted(PAGES) + ['files.md'])
def test_links_lead_to_pages_and_headings(path):
    with open(os.path.join(ROOT, 'mkdocs.yml'), encoding='utf-8') as stream:
        navigation = stream.read()
    for target, anchor in re.findall(r'\]\(([\w./]*)(?:#([\w-]+))?\)', read(path)):
        page = os.path.normpath(os.path.join('reference', os.path.dirname(path), target)) if target else 'reference/' + path
        assert ' {}\n'.format(page) in navigation, target
        if anchor:
            titles = re.findall(r'^#+ (.*)$', Page(page).text, re.MULTILINE)
            assert anchor in [re.sub(r'[^\w -]', '', title).lower().replace(' ', '-') for title in titles], anchor


@pytest.mark.parametrize('path', ['quantize_config.md', 'errors.md', 'lint.md'])
def test_the_examples_print_what_the_page_shows(path, tmp_path, forked_python):
    run_page('reference/' + path, tmp_path, forked_python)


def test_the_index_has_all_commands_and_statuses():
    text = read('commands/index.md')
    assert list(rows(text, 'command')) == [name for name, _ in COMMANDS]
    assert [int(status) for status in rows(text, 'exit status')] == [status for status, _ in EXIT_STATUSES]
    assert [name.split()[0][2:] for name in rows(text, 'option')] == list(EVERYWHERE)


@pytest.mark.parametrize('command', [name for name, _ in COMMANDS])
def test_a_command_has_its_options_with_their_defaults(command):
    listed = {name.split()[0][2:]: row for name, row in rows(section(read('commands/{}.md'.format(command)), '## Options'),
                                                             'option').items()}
    assert set(listed) == set(USED[command])
    parsed = parse([command] + (['a', 'b'] if command == 'compare' else []))
    for name, row in listed.items():
        default = getattr(parsed.config, name) if name in CHECKS else getattr(parsed, name)
        if name in REQUIRED[command]:
            assert row['default'] == 'required'
        elif default is False:
            assert row['default'] == 'off'
        elif default in ('', None, []):
            assert _DEPENDS.get(name, 'none') in row['default'], name
        else:
            assert row['default'] == '`{}`'.format(default), name
        assert len(row['meaning'].split()) > 2


def test_values_of_options_are_those_that_the_command_takes():
    options = {option.name: option for option in ROWS}
    page = rows(section(read('commands/quantize.md'), '## Options'), 'option')
    for text, row in page.items():
        name = text.split()[0][2:]
        values = re.findall(r'`(\w+)`', row['values'])
        for value in values:
            parse(['quantize', '--' + name, value])
        if values:
            with pytest.raises(errors.QuantizeError):
                parse(['quantize', '--' + name, 'other'])
            assert options[name].placeholder == '{' + ','.join(values) + '}'


def test_each_field_is_listed_with_its_default_and_values():
    text = read('quantize_config.md')
    listed = rows(text, 'field')
    assert set(listed) == set(CHECKS)
    config = QuantizeConfig()
    for name, row in listed.items():
        assert row['default'] == '`{!r}`'.format(getattr(config, name))
        for value in re.findall(r'`(\w+)`', row['values']):
            setattr(config, name, value)
        for value in re.findall(r'\b\d+\b', row['values']) if 'int' in row['type'] and 'such as' not in row['values'] else ():
            setattr(config, name, int(value))
        assert row['acts in'] in ('both', 'training', 'post-training') and len(row['meaning'].split()) > 3
    without = rows(section(text, '## Fields without an option'), 'field')
    assert set(without) == set(CHECKS) - {option.name for option in ROWS}


def test_each_error_is_listed_with_cause_remedy_and_messages():
    listed = rows(read('errors.md'), 'code')
    codes = [value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)]
    assert sorted(listed) == sorted(codes)
    for code, row in listed.items():
        assert len(row['cause'].split()) > 3 and len(row['remedy'].split()) > 3
        link, = re.findall(r'\]\((errors/\w+\.md)#(\w+)\)', row['code'])
        assert link[1] == code.lower() and '\n## `{}`\n'.format(code) in read(link[0])


def test_each_message_of_the_code_is_listed():
    """Those that raise an error with a code, a summary and a text that are written at that place."""
    listed = {(code, row[0].strip('`'), row[1].strip('` ')) for name in ('files', 'options', 'graphs')
              for code, text in _sections(read('errors/{}.md'.format(name))) for table in tables(text) for row in table[1:]}
    written = set(_written_messages())
    assert len(written) > 120
    for code, summary, start in written:
        assert any(found[:2] == (code, summary) and found[2].startswith(start) for found in listed), (code, summary, start)


def _sections(text):
    for part in re.split(r'^## ', text, flags=re.MULTILINE)[1:]:
        yield re.match(r'`(\w+)`', part).group(1), part


def _written_messages():
    """(code, summary, text before the first part that varies)"""
    for folder, _, names in os.walk(os.path.join(ROOT, 'vai_q_tf')):
        for name in (name for name in names if name.endswith('.py')):
            with open(os.path.join(folder, name), encoding='utf-8') as stream:
                text = stream.read()
            for found in re.finditer(r"QuantizeError\(\s*errors\.([A-Z_]+),\s*'([^']+)',\s*", text):
                detail = re.match(r"'((?:[^'\\{}])*)", text[found.end():])
                yield (getattr(errors, found.group(1)), ast.literal_eval("'{}'".format(found.group(2))),
                       detail.group(1).strip() if detail else '')


def test_each_lint_rule_is_listed():
    text = read('lint.md')
    assert set(rows(text, 'rule')) == set(lint.RULES) | set(number_rules.RULES)
    assert set(rows(section(text, '## Numbers that differ'), 'rule')) == set(number_rules.RULES)
    for row in rows(text, 'rule').values():
        assert row['requirement'].endswith('.') and len(row['message'].split()) > 8


def test_all_ops_are_listed():
    table, = tables(section(read('ops.md'), '## Quantized ops'))
    assert [sorted(re.findall(r'`(\w+)`', row[1])) for row in table[1:]] == [
        sorted(op for op, row in traits.TRAITS.items() if row.kind == kind)
        for kind in (traits.WEIGHTED, traits.VALUE, traits.SHARED, traits.FORWARDS)]
    reasons = rows(section(read('ops.md'), '## Float ops'), 'op type')
    assert {op: row['reason'] for op, row in reasons.items()} == {
        op: row.reason for op, row in traits.TRAITS.items() if row.kind == traits.FLOAT}


def test_all_passes_are_listed_in_their_order():
    table, = tables(section(read('ops.md'), '## How the graph changes'))
    names = [entry.run.__name__ for entry in pipeline.CLEAN_UP + (pipeline.CONSTANTS, pipeline.PARAMETERS) + pipeline.FOLDING
             + pipeline.DPU]
    assert [row[0].strip('`') for row in table[1:]] == ['resolve_switches', 'partition'] + names
    runs = {row[0].strip('`'): row[2] for row in table[1:]}
    assert runs['remove_dropouts'] == 'always' and runs['open_batches'] == 'unless `fold_bn_only=1`'
    assert runs['equalize_layers'] == 'if `do_cle=1`' and runs['fold_parameters'] == 'if `--fold_constant 0`'
    assert runs['replace_sigmoid'] == 'if `replace_sigmoid=1`, unless `simulate_dpu=0` or `fold_bn_only=1`'


def test_the_ops_of_each_dpu_are_listed():
    table, = tables(section(read('ops.md'), '## Ops by DPU'))
    for column, ops in [(1, COMPILER_OPS)] + [(table[0].index(name), target.ops) for name, target in TARGETS.items()]:
        assert {row[0].strip('`') for row in table[1:] if row[column] == 'yes'} == set(ops) - {'FixNeuron'}


def test_no_generated_page_is_left_over():
    found = {os.path.relpath(os.path.join(folder, name), REFERENCE) for folder, _, names in os.walk(REFERENCE)
             for name in names}
    assert {path for path in found if path.endswith('.md') and 'Generated by docs/generator' in read(path)} == set(PAGES)
