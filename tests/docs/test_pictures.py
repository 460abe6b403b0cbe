"""The scripts in docs/pictures, and the pictures that pages show."""
import importlib.util
import os
import re
import struct

from tests.docs.pages import DOCS, Page
from tests.forks import ROOT


def _script(name):
    spec = importlib.util.spec_from_file_location('picture_' + name, os.path.join(DOCS, 'pictures', name + '.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_picture_of_the_report_leaves_out_is_named_as_in_the_report():
    script = _script('report')
    style = re.search(r'<style>(.*) \{ display: none; \}</style>', script.shortened('<head></head>')).group(1)
    with open(os.path.join(ROOT, 'vai_q_tf', 'html_report', 'page.html'), encoding='utf-8') as stream:
        page = stream.read()
    identifiers, classes = set(re.findall(r'#(\w+)', style)), set(re.findall(r'\.(\w+)', style))
    assert identifiers == {'summary', 'network', 'tensors'} and classes == {'cards', 'legend', 'plot', 'selected', 'skip'}
    assert all('id="{}"'.format(name) in page for name in identifiers)
    assert all(re.search('class="[^"]*{}'.format(name), page) for name in classes)


def test_the_picture_of_the_report_is_shown_and_has_the_size_of_the_script():
    with open(os.path.join(DOCS, 'pictures', 'report.png'), 'rb') as stream:
        width, height = struct.unpack('>II', stream.read(24)[16:])
    size = _script('report')._SIZE
    assert width == size[0] and 1000 < height <= size[1]
    assert '(docs/pictures/report.png)' in Page('../README.md').text
