"""`make docs` fails on what is wrong with a site: its configuration, with pages that have a fault each."""
import os
import re
import shutil
import subprocess

import pytest

from tests.forks import ROOT

PYTHON = os.path.join(ROOT, '.venv', 'docs', 'bin', 'python')
GOOD = '# Title\n\nSome words on `teh` [other page](b.md#hook).\n'
OTHER = '# Other\n\n## hook\n\n::: vai_q_tf.hooks.training_hook.QuantizeTrainingHook\n'


def _build(tmp_path, page, readme='# Title\n', hook_doc=None):
    """The problems that a build of two pages reports; it fails if there are any."""
    with open(os.path.join(ROOT, 'mkdocs.yml'), encoding='utf-8') as stream:
        config = stream.read().partition('\nnav:')[0]
    sources = tmp_path / 'sources'
    shutil.copytree(os.path.join(ROOT, 'vai_q_tf'), str(sources / 'vai_q_tf'), ignore=lambda _, names: [
        name for name in names if '.' in name and not name.endswith('.py')])
    if hook_doc:
        hook = sources / 'vai_q_tf' / 'hooks' / 'training_hook.py'
        hook.write_text(hook.read_text().replace('      config: a QuantizeConfig.\n', hook_doc))
    config = config.replace('paths: [.]', 'paths: [{}]'.format(sources)).replace('[tests/', '[{}/tests/'.format(ROOT))
    (tmp_path / 'mkdocs.yml').write_text(re.sub('^watch: .*\n', '', config, flags=re.MULTILINE) + '\nnav: [index.md, b.md]\n')
    docs = tmp_path / 'docs'
    shutil.copytree(os.path.join(ROOT, 'docs', 'assets'), str(docs / 'assets'))
    shutil.copy(os.path.join(ROOT, 'docs', 'known_words.txt'), str(docs))
    for path, text in ((docs / 'index.md', page), (docs / 'b.md', OTHER), (tmp_path / 'README.md', readme),
                       (tmp_path / 'CONTRIBUTING.md', '# Title\n')):
        path.write_text(text)
    done = subprocess.run([PYTHON, '-W', 'ignore::DeprecationWarning', '-m', 'mkdocs', 'build'], cwd=str(tmp_path),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    problems = re.findall('^(?:WARNING|ERROR) +- +(.*)$', done.stdout, re.MULTILINE)
    assert (done.returncode != 0) == bool(problems), done.stdout
    return problems


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(PYTHON), reason='`make docs` was not run here')
@pytest.mark.parametrize('arguments, problem', [
    ((GOOD,), None),
    ((GOOD.replace('words', 'wrods'),), "(symspellpy) index.md: Misspelled 'wrods'"),
    ((GOOD.replace('words', 'colour'),), "(codespell) index.md: Misspelled 'colour'"),
    ((GOOD.replace('b.md#hook', 'c.md'),), "a relative link 'c.md'"),
    ((GOOD.replace('#hook', '#hooks'),), 'index.html: no anchor b.html#hooks'),
    ((GOOD + '\n<img src="https://example.org/x.png">\n',), 'index.html: fetches https://example.org/x.png'),
    ((GOOD.replace('b.md#hook', '../README.md'),), "a relative link '../README.md'"),
    ((GOOD, '# Titel\n'), "(symspellpy) README.md: Misspelled 'titel'"),
    ((GOOD, '# Title\n', '      configs: a QuantizeConfig.\n'), "Parameter 'configs' does not appear"),
    ((GOOD, '# Title\n', '      config: a qantize config.\n'), "(symspellpy) b.md: Misspelled 'qantize'")])
def test_build(tmp_path, arguments, problem):
    found = _build(tmp_path, *arguments)
    assert bool(found) == bool(problem)
    assert not problem or any(problem in text for text in found), found
