"""The how-to pages on quantization-aware training, except those on the ways to train: test_training_ways.py."""
import json
import os
import re

import pytest
import tensorflow as tf

from tests.docs.once import Runs
from tests.docs.pages import DOCS, Page, pages
from tests.docs.test_training_ways import WAYS
from tests.forks import ROOT
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.qat.positions.moving_positions import TIE
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY
from vai_q_tf.qat.recipe.recipe import _ALWAYS, _SHORTEST, FREEZE_SHARE

FOLDER = 'how_to/training/'
PAGES = sorted(set(pages(FOLDER)) - set(WAYS))


@pytest.fixture(scope='module')
def ran(tmp_path_factory, forked_python):
    return Runs(tmp_path_factory, forked_python)


@pytest.mark.parametrize('path', PAGES)
def test_page(path, ran):
    assert 'No quantized model' not in ''.join(ran(path)[1].values())


def _numbers(printed, pattern):
    """The numbers that the groups of a pattern match in the output of a page."""
    return [float(number) for number in re.search(pattern, ''.join(printed.values())).groups()]


def test_training_gains_what_the_pages_show(ran):
    calibrated, = _numbers(ran(FOLDER + 'recipe.md')[1], r'after the calibration: (\S+)')
    trained, = _numbers(ran(FOLDER + 'recipe.md')[1], r'after 100 steps: (\S+)')
    last, averaged = _numbers(ran(FOLDER + 'recipe.md')[1], r'last weights: (\S+), averaged weights: (\S+)')
    assert calibrated + 0.05 < trained and last < averaged
    first, final, accuracy = _numbers(ran(FOLDER + 'distillation.md')[1], r'from (\S+) to (\S+), accuracy (\S+)')
    assert final < 0.7 * first and accuracy > 0.9


def test_a_loop_resumes_with_its_positions(ran):
    directory, _ = ran(FOLDER + 'function.md')
    votes = [tf.train.load_checkpoint(str(directory / 'trained' / 'model.ckpt-{}'.format(step))).get_tensor(
        VOTES_KEY) for step in (50, 100)]
    assert votes[0].any() and votes[0].shape == votes[1].shape and (votes[0].argmax(1) == votes[1].argmax(1)).all()


def test_all_files_of_a_training_are_listed(ran):
    """In the table of evaluate_and_deploy.md."""
    written = {re.sub(r'\d+_\d{14}', '<suffix>', path.name) for name, directory in (
        ('function', 'quantized'), ('evaluate_and_deploy', 'deployed'), ('tensorboard', 'watched'))
        for path in (ran('{}{}.md'.format(FOLDER, name))[0] / directory).iterdir() if 'tfevents' not in path.name}
    listed = {cells[0] for cells in _rows('evaluate_and_deploy.md', '`quantize_|`latest')}
    assert listed == written and len(listed) == 6
    keys = set(json.loads((ran(FOLDER + 'evaluate_and_deploy.md')[0] / 'deployed' / 'latest.json').read_text()))
    row, = _rows('evaluate_and_deploy.md', '`latest.json`')
    assert set(re.findall(r'`(\w+)`', row[2])) == keys


def test_all_charts_are_listed(ran):
    events, = (ran(FOLDER + 'tensorboard.md')[0] / 'watched').glob('*tfevents*')
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value}
    written = {re.sub(r'quantize\.[\w.]+/(\w+)/.*', r'quantize.<layer>/\1/<tensor>', tag) for tag in tags}
    listed = {cells[0] for cells in _rows('tensorboard.md', '`quantize')}
    assert listed - {'quantize.<layer>/threshold/<tensor>'} == written and len(written) == 4


def test_the_recipe_is_that_of_the_code():
    assert {cells[0].strip("'") for cells in _rows('recipe.md', "`'")} == set(_ALWAYS)
    text = ' '.join(Page(FOLDER + 'recipe.md').text.split())
    assert 'at most {} times that error'.format(TIE) in text and FREEZE_SHARE == 2 / 3
    assert 'two thirds of a training whose length is known and at least {} steps'.format(_SHORTEST) in text


def test_fields_and_codes_exist():
    codes = [cells[0] for cells in _rows('troubleshooting.md', '`Quantize_TF1')]
    assert len(codes) > 10 and set(codes) <= {value for value in vars(errors).values() if isinstance(value, str)}
    assigned = {field for path in pages(FOLDER) for field in re.findall(r'`(\w+)=[^`]*`', Page(path).text)}
    arguments = {'activation', 'averaged', 'compile', 'defer_build', 'distillation', 'drop_remainder', 'from_logits', 'report',
                 'statistics', 'stop_gradients', 'towers'}
    assert arguments < assigned and assigned - arguments <= set(vars(QuantizeConfig()))


def _rows(page, beginning):
    """The cells of the rows of a page's tables that begin so; the first one without its backquotes."""
    rows = [line[2:-2].split(' | ') for line in Page(FOLDER + page).text.splitlines()
            if re.match(r'\| (?:{})'.format(beginning), line)]
    return [[cells[0].strip('`')] + cells[1:] for cells in rows]


def test_the_line_of_the_first_step_is_that_of_a_run(ran):
    shown = re.search(r'((?:^    .*\n)+)', Page(FOLDER + 'recipe.md').text, re.MULTILINE).group(1)
    assert ' '.join(shown.split()) in ''.join(ran(FOLDER + 'function.md')[1].values())


@pytest.mark.parametrize('path', pages(FOLDER))
def test_links_lead_to_pages_of_the_site_and_their_headings(path):
    site = set(re.findall(r'^ *- (?:.*: )?(\S+\.md)$', open(os.path.join(ROOT, 'mkdocs.yml')).read(), re.MULTILINE))
    for file, heading in re.findall(r'\]\(([\w./]*)#?([\w-]*)\)', Page(path).text):
        target = os.path.normpath(os.path.join(FOLDER, file)) if file else path
        assert target in site or os.path.exists(os.path.join(DOCS, target)), target
        assert not heading or heading in _anchors(target), (target, heading)


def _anchors(path):
    return {re.sub(r'[^\w -]', '', text.lower()).replace(' ', '-')
            for text in re.findall(r'^#+ (.+)$', Page(path).text, re.MULTILINE)}


@pytest.mark.parametrize('path', pages(FOLDER))
def test_a_page_is_short_enough_to_read(path):
    lines = Page(path).text.splitlines()
    assert len(lines) <= 250
    assert [line for line in lines if len(line) > 128 and line[0] not in '|!' and 'This training starts' not in line] == []
