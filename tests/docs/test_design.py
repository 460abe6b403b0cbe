"""The pages of design: every module, function, class, attribute and op that they name exists, and they lead to each other."""
import functools
import io
import os
import re
import tokenize

import pytest
import tensorflow.compat.v1 as tf

from tests.docs.pages import DOCS, Page, pages
from tests.forks import ROOT
from vai_q_tf.qat.positions import position_saveable as keys

PAGES = ['design.md'] + pages('design')
# Names of an example network, of values in a formula, and of what the user writes.
_OTHERS = {'conv1/weights/wquant', 'conv1/Relu/aquant', 'Q', 's', 'dy'}
_KEYS = {keys.TENSORS_KEY, keys.VOTES_KEY, keys.START}  # in checkpoints


@functools.lru_cache(maxsize=None)
def _names():
    """All identifiers and strings in the code of the package, and the op types of the kernels."""
    found = set()
    for folder, _, files in os.walk(os.path.join(ROOT, 'vai_q_tf')):
        for name in files:
            if name.endswith('.py'):
                with open(os.path.join(folder, name), encoding='utf-8') as stream:
                    for token in tokenize.generate_tokens(io.StringIO(stream.read()).readline):
                        if token.type == tokenize.NAME:
                            found.add(token.string)
                        elif token.type == tokenize.STRING and not token.string.startswith('"""'):
                            found.add(token.string.strip('\'"'))
    for name in os.listdir(os.path.join(ROOT, 'kernels')):
        if name.endswith('.cc'):
            with open(os.path.join(ROOT, 'kernels', name), encoding='utf-8') as stream:
                found |= set(re.findall(r'REGISTER_OP\("(\w+)"\)', stream.read()))
    return found


@functools.lru_cache(maxsize=None)
def _owners():
    """{name of a module, or of a class: the identifiers in modules of that name, or that define the class}."""
    found = {}
    for folder, _, files in os.walk(os.path.join(ROOT, 'vai_q_tf')):
        for name in files:
            if name.endswith('.py'):
                with open(os.path.join(folder, name), encoding='utf-8') as stream:
                    text = stream.read()
                for owner in [name[:-len('.py')]] + re.findall(r'^class (\w+)', text, re.MULTILINE):
                    found.setdefault(owner, set()).update(re.findall(r'\w+', text))
    return found


def _exists(code):
    if code in _OTHERS | _KEYS or code in _names():
        return True
    if '/' in code:
        return any(os.path.exists(os.path.join(ROOT, place, code + end)) for place in ('', 'vai_q_tf') for end in ('', '.py'))
    if code.startswith('tf.'):
        return functools.reduce(lambda value, name: getattr(value, name, None), code.split('.')[1:], tf) is not None
    owner, _, name = code.rpartition('.')
    return code in _owners() if not owner else name in _owners().get(owner, ())


def _code(path):
    """The words in backquotes that look like names, without calls and values of settings."""
    text = re.sub(r'^```.*?^```', '', Page(path).text, flags=re.DOTALL | re.MULTILINE)
    for words in re.findall('`([^`]+)`', text):
        call = re.match(r'([\w./]*[A-Za-z_][\w./]*)(\(.*\)|=.*)?$', words)
        if call:
            yield call.group(1)


@pytest.mark.parametrize('path', PAGES)
def test_names_exist(path):
    names = list(_code(path))
    assert len(names) > 5
    assert [name for name in names if not _exists(name)] == []


@pytest.mark.parametrize('name', ['no_such_function', 'view.NO_SUCH_NAME', 'ptq/no_such_room', 'tf.no_such_name', 'VaiNoSuchOp',
                                  'NoSuchClass.add', 'Rewriter.no_such_method'])
def test_names_that_do_not_exist(name):
    assert not _exists(name)


def test_the_entry_leads_to_every_page():
    text = Page('design.md').text
    assert re.findall(r'^\| \[[^]]*\]\((design/\w+\.md)\)', text, re.MULTILINE) != []
    assert sorted(re.findall(r'\]\((design/\w+\.md)\)', text)) == pages('design')


def test_names_in_the_diagram():
    diagram = re.search(r'^```\n(.*?)^```$', Page('design.md').text, re.DOTALL | re.MULTILINE).group(1)
    words = {'inference_form', 'with_stand_ins', 'optimise', 'annotate', 'QuantPlan', 'decide', 'finalize', 'lint', 'calibrate'}
    assert words <= set(re.findall(r'\w+', diagram)) and words <= _names() | set(_owners())


def test_nothing_is_hidden_in_the_folder():
    assert sorted(os.listdir(os.path.join(DOCS, 'design'))) == sorted(os.path.basename(path) for path in pages('design'))
