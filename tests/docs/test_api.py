"""The API pages have one entry for each public name, and its docstring describes each argument, field and method."""
import importlib
import inspect
import os
import re

import pytest

import vai_q_tensorflow
from tests.docs.pages import Page, pages, run_page

FOLDER = 'reference/api'
INDEX = FOLDER + '/index.md'
_SECTION = re.compile(r'^## `?(\w+)`?$', re.MULTILINE)
_ROW = re.compile(r'^\| \[`(\w+)`\]\((\w+\.md)#(\w+)\) \| (.+) \|$', re.MULTILINE)


def entries():
    """[(name, page, its text)] of the headings of all API pages."""
    found = []
    for path in pages(FOLDER):
        if path != INDEX:
            _, *parts = _SECTION.split(Page(path).text)
            found += zip(parts[::2], [os.path.basename(path)] * len(parts), parts[1::2])
    return found


def _import(path):
    """What `::: path` renders."""
    module, _, name = path.rpartition('.')
    return getattr(importlib.import_module(module), name)


def _documented():
    """{name of an entry: its class or function}"""
    rendered = ((name, re.search('^::: (.*)$', text, re.MULTILINE)) for name, _, text in entries())
    return {name: _import(path.group(1)) for name, path in rendered if path}


DOCUMENTED = _documented()
CLASSES = {name: entry for name, entry in DOCUMENTED.items() if inspect.isclass(entry)}


def described(docstring, section):
    """The names in a section of a docstring, such as 'Args'."""
    found = re.search(r'^{}:\n((?:  .*\n|\n(?=  ))+)'.format(section), inspect.cleandoc(docstring or '') + '\n', re.MULTILINE)
    return re.findall(r'^  (\w+): \S', found.group(1), re.MULTILINE) if found else []


def missing(entry):
    """Arguments, fields and methods of a class or a function that its docstrings do not describe."""
    if not inspect.isclass(entry):
        names = [name for name, parameter in inspect.signature(entry).parameters.items() if parameter.kind is not
                 parameter.VAR_KEYWORD]
        return [] if entry.__doc__ and described(entry.__doc__, 'Args') == names else sorted(
            set(names) ^ set(described(entry.__doc__, 'Args'))) or ['order']
    given = described(entry.__doc__, 'Args') + described(entry.__doc__, 'Attributes')
    fields = getattr(entry, '_fields', ())
    arguments = () if fields or '__init__' not in vars(entry) else list(inspect.signature(entry.__init__).parameters)[1:]
    members = [(name, member.__func__ if isinstance(member, classmethod) else member) for name, member in vars(entry).items()
               if not name.startswith('_') and name not in fields]
    undescribed = [name for name, member in members if callable(member) or isinstance(member, property) and not member.__doc__]
    return [name for name in (*fields, *arguments, *getattr(entry, '__annotations__', ())) if name not in given] + [
        name for name in undescribed if not (getattr(entry, name).__doc__ or '').strip()]


def test_each_public_name_has_one_entry():
    names = [name for name, _, _ in entries()]
    assert len(names) == len(set(names))
    assert not set(vai_q_tensorflow.__all__) - set(names)
    further = set(names) - set(vai_q_tensorflow.__all__)
    assert further <= set(CLASSES), 'besides public names, only types of results are described'


def test_the_index_lists_each_entry_once():
    listed = [(name, page, anchor) for name, page, anchor, _ in _ROW.findall(Page(INDEX).text)]
    assert sorted(listed) == sorted((name, page, name.lower()) for name, page, _ in entries())


@pytest.mark.parametrize('name', sorted(set(DOCUMENTED) & set(vai_q_tensorflow.__all__)))
def test_an_entry_renders_the_object_of_that_name(name):
    assert DOCUMENTED[name] is getattr(vai_q_tensorflow, name)


@pytest.mark.parametrize('name', sorted(DOCUMENTED))
def test_docstrings_describe_all(name):
    assert missing(DOCUMENTED[name]) == []


def test_what_is_noticed():
    def function(one, two, **_):
        """Does.

        Args:
          one: an argument.
        """
    assert missing(function) == ['two']

    class Kind:
        """A class.

        Args:
          one: an argument,
            two: of several lines.
        """
        three: int

        def __init__(self, one, two):
            pass

        def method(self):
            pass

        @property
        def four(self):
            pass
    assert missing(Kind) == ['two', 'three', 'method', 'four']


@pytest.mark.parametrize('path', pages(FOLDER))
def test_page(path, tmp_path, forked_python):
    run_page(path, tmp_path, forked_python)
