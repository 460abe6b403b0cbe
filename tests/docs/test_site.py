"""All pages follow the rules of site_checks, and each rule notices what breaks it. `make docs` builds the site."""
import glob
import os
import re

import pytest

from tests.docs import site_checks
from tests.docs.pages import DOCS, Page, pages
from tests.docs.site_hooks import broken_links
from tests.forks import ROOT

DOCUMENTS = pages() + ['../README.md', '../CONTRIBUTING.md']

# {page: reasons} of blocks that no test can run.
NOT_RUN = {
    '../CONTRIBUTING.md': ['makes the environment of the tests', 'runs tests itself', 'takes minutes, in two checkouts'],
    'background/accuracy_after_training.md': [
        'takes hours; tests/benchmarks/test_efforts.py runs the same scripts on a few images'],
    'background/accuracy_in_training.md': [
        'takes hours; tests/benchmarks/test_accuracy.py runs the same scripts for a few steps'],
    'background/reliability.md': ['takes hours; tests/fuzz/test_fuzz.py runs a few of these trials'],
    'how_to/board.md': ['needs the DPU compiler and a board'],
    'how_to/compile.md': ['needs the DPU compiler of Vitis AI'],
    'how_to/docker.md': ['docker needs a daemon, which the machines of the tests lack', 'needs docker and a GPU'],
    'how_to/from_vai_q_tensorflow.md': ['needs an environment of Vitis AI'],
    'how_to/gpu.md': ['needs CUDA 10.0'],
    'how_to/onnx.md': ['the environment of the tests has it'],
    'how_to/training/distributed.md': [
        'needs Horovod; tests/distributed/test_processes.py runs SynchronizePositionsHook without it'],
    'how_to/training/tensorboard.md': ['waits for a browser'],
    'start/install.md': ['each installs Python with another tool'],
}

# {page: figures in prose} that are no measurements, such as a tolerance or an argument.
CONSTANTS = {
    'background/accuracy_after_training.md': ['10 dB', '70 %'],
    'background/dpu.md': ['0.1 %'],
    'background/positions.md': ['99.99 %'],
    'background/reliability.md': ['20 dB'],
    'how_to/post_training/choose_bits.md': ['45 dB'],
    'how_to/post_training/effort.md': ['6 dB', '2 dB'],
    'how_to/post_training/quantize.md': ['20 dB'],
    'how_to/read_an_analysis.md': ['20 dB', '40 dB', '6 dB', '25 %'],
    'reference/ops.md': ['0.1 %'],
}


def _tests():
    paths = glob.glob(os.path.join(ROOT, 'tests', 'docs', 'test_*.py')) + [
        os.path.join(ROOT, 'tests', 'packaging', name) for name in ('test_readme.py', 'test_contributing.py')]
    for path in sorted(set(paths) - {os.path.abspath(__file__)}):
        with open(path, encoding='utf-8') as stream:
            yield stream.read()


TESTS = list(_tests())


def test_the_navigation_has_each_page_once():
    assert sorted(site_checks.nav()) == pages()


@pytest.mark.parametrize('path', DOCUMENTS)
def test_form(path):
    assert list(site_checks.form_breaches(Page(path).text)) == []


@pytest.mark.parametrize('path', DOCUMENTS)
def test_a_test_runs_the_blocks(path):
    page = Page(path)
    assert list(site_checks.mark_breaches(page, NOT_RUN.get(path, ()))) == []
    if any(block.runs for block in page.blocks):
        assert any(site_checks.runs(test, path.replace('../', '')) for test in TESTS), 'no test runs ' + path


@pytest.mark.parametrize('path', DOCUMENTS)
def test_figures(path):
    text = Page(path).text
    assert list(site_checks.figure_breaches(text, CONSTANTS.get(path, ()))) == []
    assert list(site_checks.script_breaches(text)) == []


@pytest.mark.parametrize('path', DOCUMENTS)
def test_links(path):
    assert list(site_checks.link_breaches(*site_checks.read(path))) == []


def test_allowances_are_used():
    unused = [(path, reason) for path, reasons in NOT_RUN.items() for reason in reasons
              if reason not in (block.detail for block in Page(path).blocks)]
    unused += [(path, figure) for path, figures in CONSTANTS.items() for figure in figures if figure not in Page(path).text]
    assert unused == []


def test_the_questions_lead_to_each_page_of_how_to():
    linked = re.findall(r'\]\(([\w/]+\.md)\) \|$', Page('how_to/index.md').text, re.MULTILINE)
    assert sorted('how_to/' + link for link in linked) == sorted(set(pages('how_to')) - {'how_to/index.md'})


def test_the_glossary_is_sorted():
    terms = re.findall('^## (.*)$', Page('glossary.md').text, re.MULTILINE)
    assert len(terms) > 40
    assert terms == sorted(set(terms), key=lambda term: term.strip('`').lower())


def test_known_words_are_sorted():
    with open(os.path.join(DOCS, 'known_words.txt'), encoding='utf-8') as stream:
        words = stream.read().splitlines()
    assert words == sorted(set(words)) and all(re.match('[a-z]{3,}$', word) for word in words)


def test_known_words_are_used():
    code = glob.glob(os.path.join(ROOT, 'vai_q_tf', '**', '*.py'), recursive=True)
    used = set()
    for path in code + [os.path.join(DOCS, document) for document in DOCUMENTS]:
        with open(path, encoding='utf-8') as stream:
            used.update(re.findall('[a-z]+', stream.read().lower()))
    with open(os.path.join(DOCS, 'known_words.txt'), encoding='utf-8') as stream:
        assert set(stream.read().splitlines()) - used == set()


GOOD = '''# Title

Prose with `99 %` of code, and 3 dB.

```text
3 dB
```

<!-- table: written by Makefile -->
| 7 s |
<!-- end of table -->

* A list

    goes on.
'''


@pytest.mark.parametrize('before, after, breach', [
    ('# Title', '# Title\n\n# Title', 'not one title'),
    ('```text\n', '```bash\n', "a block in 'bash' with the indent 0 is not run: 3 dB"),
    ('```text\n3', '```\nmake x\n3', "a block in '' with the indent 0 is not run: make x"),
    ('```text\n3 dB\n```', '* text\n\n  ```sh\n  make\n  ```', "a block in 'sh' with the indent 2 is not run:   make"),
    ('goes on.', '.venv/bin/python x.py', 'a block without backquotes is not run: .venv/bin/python x.py'),
    ('# Title', '# Title' + '\n' * 250, '265 lines, more than 250')])
def test_breaches_of_form(before, after, breach):
    assert list(site_checks.form_breaches(GOOD)) == []
    assert breach in list(site_checks.form_breaches(GOOD.replace(before, after)))


@pytest.mark.parametrize('before, after, breach', [
    ('and 3 dB', 'and 4 dB', '4 dB'), ('3 dB\n```', '13 dB\n```', '3 dB'), ('`99 %`', '99 %', '99 %'),
    ('and 3 dB', 'and 12.5 seconds', '12.5 seconds'), ('table: written by Makefile', 'table', '7 s')])
def test_breaches_of_figures(before, after, breach):
    assert list(site_checks.figure_breaches(GOOD)) == []
    changed = GOOD.replace(before, after)
    assert changed != GOOD
    assert list(site_checks.figure_breaches(changed)) == ['a figure that nothing repeats: {!r}'.format(breach)]
    assert list(site_checks.figure_breaches(changed, [breach])) == []


def test_breaches_of_scripts():
    assert list(site_checks.script_breaches(GOOD)) == []
    assert list(site_checks.script_breaches(GOOD.replace('Makefile', 'no.py'))) == ['no script no.py']
    assert len(list(site_checks.script_breaches(GOOD.replace('end of table', 'end of it')))) == 1


@pytest.mark.parametrize('mark, command, breach', [
    ('not run: whim', 'true', 'is not run: whim'), ('run by tests/no/test_file.py', 'true', 'no test file'),
    ('run by tests/docs/pages.py', 'true', 'no test file'),
    ('run by tests/docs/test_pages.py', 'A=1 make -s unknown \\\n  x  # x', "does not run 'unknown'"),
    ('run by tests/docs/test_pages.py', "python -c 'import", None), ('not run: reason', 'true', None)])
def test_breaches_of_marks(tmp_path, mark, command, breach):
    path = tmp_path / 'page.md'
    path.write_text('<!-- {} -->\n```sh\n{}\n```\n'.format(mark, command))
    found = list(site_checks.mark_breaches(Page(str(path)), ['reason']))
    assert len(found) == bool(breach) and all(breach in text for text in found)


@pytest.mark.parametrize('link, breach', [
    ('other.md', None), ('other.md#a-part-2', None), ('#here', None), ('https://example.org/#x', None), ('no.md', 'no file'),
    ('other.md#no', 'no anchors'), ('other.md#twice', '2 anchors'), ('#no', 'no anchors'), ('#in-a-block', 'no anchors')])
def test_breaches_of_links(tmp_path, link, breach):
    (tmp_path / 'other.md').write_text('# Other\n\n## A `part` (2)\n\n## Twice\n\n## Twice\n')
    path = tmp_path / 'page.md'
    path.write_text('# Here\n\n[a [b] `c`]({})\n\n`[x](no)`\n\n```sh\n# In a block\n```\n'.format(link))
    found = list(site_checks.link_breaches(*site_checks.read(str(path))))
    assert len(found) == bool(breach) and all(breach in text for text in found)


def test_a_page_does_not_link_out_of_the_site():
    path = os.path.join(DOCS, 'page.md')
    assert list(site_checks.link_breaches(path, '[x](../README.md)')) == ['a link out of the site: ../README.md']


@pytest.mark.parametrize('test, expected', [
    ("run_page('a/b/c.md')", True), ("run_page('a/{}.md'.format('b/c'))", False), ("for x in pages('a'): run_page(x)", True),
    ("for x in pages('a/b/'): Page(x).run(y)", True), ("for x in pages('a/d'): run_page(x)", False),
    ("Page('a/b/c.md')", False),
    ("for x in ('c', 'd'): run_page('a/b/{}.md'.format(x))", True), ("run_page('a/b/d.md')", False)])
def test_a_test_that_runs_a_page_is_found(test, expected):
    assert site_checks.runs(test, 'a/b/c.md') is expected


def test_broken_links_of_a_site(tmp_path):
    (tmp_path / 'a.html').write_text('<a href="b.html#x"></a><a href="#y"></a><i id="y"></i><a href="c.html"></a>')
    (tmp_path / 'b.html').write_text('<p id="x"><a href="https://example.org"></a><a href="c.html"></a><a href="a.html#z"></a>'
                                     '<script src="https://cdn/x.js">')
    assert broken_links(str(tmp_path)) == [
        'a.html and 1 more: no file c.html', 'b.html: no anchor a.html#z', 'b.html: fetches https://cdn/x.js']
