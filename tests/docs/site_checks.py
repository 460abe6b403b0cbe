"""Rules of the pages that neither mkdocs nor running their blocks checks. Each function returns sentences on breaches."""
import ast
import os
import re
from urllib.parse import unquote, urldefrag

import yaml

from tests.docs.pages import DOCS, Page
from tests.forks import ROOT

LANGUAGES = ('python', 'sh', 'text', 'yaml', 'json', 'dockerfile')
MOST_LINES = 250

_ANY_BLOCK = re.compile(r'^( *)```(\S*)\n(.*?)^ *```$', re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r'<!--.*?-->', re.DOTALL)
_WRITTEN = re.compile(r'<!-- ([^>\n]*): written by (\S+) -->\n(.*?)<!-- end of \1 -->', re.DOTALL)
_FIGURE = re.compile(r'(?<![\w.])([-−+]?\d[\d.,]*)\s?(?:%|(?:dB|ms|s|seconds?|min|minutes?|h|hours?|days?)\b)')
_COMMAND = re.compile(
    r'^ *(?:\$ |[\w./]*(?:make|pip|python|source|docker|vai_q_tensorflow) |import |from \w+ import )', re.MULTILINE)
_LINK = re.compile(r'\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]*(?:\([^()]*\))?[^()\s]*)\)')


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags only mkdocs needs."""


_Loader.add_multi_constructor('tag:yaml.org,2002:python/', lambda *_: None)


def nav():
    """The pages that the navigation lists, in its order."""
    def leaves(entries):
        for entry in entries:
            for value in entry.values() if isinstance(entry, dict) else [entry]:
                yield from leaves(value) if isinstance(value, list) else [value]
    with open(os.path.join(ROOT, 'mkdocs.yml'), encoding='utf-8') as stream:
        return list(leaves(yaml.load(stream, _Loader)['nav']))


def prose(text):
    """A page without blocks, comments, code and targets of links; the lines stay."""
    for pattern, kept in ((_ANY_BLOCK, ''), (_COMMENT, ''), (re.compile(r'``.+?``|`[^`]+`', re.DOTALL), '`'),
                          (re.compile(r'(?<=\])\([^)\s]*\)'), '')):
        text = pattern.sub(lambda found, kept=kept: kept + '\n' * found.group().count('\n'), text)
    return text


def form_breaches(text):
    """The length, the title, and blocks of which `pages.py` would not know."""
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        yield '{} lines, more than {}'.format(len(lines), MOST_LINES)
    if len(re.findall('^# ', prose(text), re.MULTILINE)) != 1:
        yield 'not one title'
    for indent, language, code in _ANY_BLOCK.findall(text):
        is_synopsis = language == 'console' and re.search(r'\[options\]|\b[A-Z]{2}', code)
        if indent or language not in LANGUAGES and not is_synopsis and (language or _COMMAND.search(code)):
            yield 'a block in {!r} with the indent {} is not run: {}'.format(language, len(indent), code.split('\n')[0])
    for line in re.findall('^    .*', prose(text), re.MULTILINE):
        if _COMMAND.match(line):
            yield 'a block without backquotes is not run: ' + line.strip()


def mark_breaches(page, not_run):
    """Marks that name no test, or a test that lacks the command; `not run` for other reasons than those of the page."""
    for block in page.blocks:
        if block.mark == 'not run:' and block.detail not in not_run:
            yield 'line {} is not run: {}'.format(block.line, block.detail)
        if block.mark == 'run by':
            path = os.path.join(ROOT, block.detail)
            if not re.match(r'tests/[\w/]*test_\w+\.py$', block.detail) or not os.path.exists(path):
                yield 'line {}: no test file {}'.format(block.line, block.detail)
                continue
            with open(path, encoding='utf-8') as stream:
                test = stream.read()
            for word in filter(None, map(_word, block.code.replace('\\\n', ' ').splitlines())):
                if block.language == 'sh' and word not in test:
                    yield 'line {}: {} does not run {!r}'.format(block.line, block.detail, word)


def _word(line):
    """The word that a test of the command on a line has to contain: its first argument, or the command; None without one."""
    words = [word for word in line.partition('#')[0].split() if '=' not in word]
    arguments = [word for word in words[1:] if not word.startswith('-')]
    found = re.search(r'\w[\w.-]*', os.path.basename((arguments or words or [''])[0]))
    return found.group() if found else None


def figure_breaches(text, allowed=()):
    """Measured figures in prose that neither a script writes nor a block shows that is compared with what is printed."""
    shown = ' '.join(code for _, language, code in _ANY_BLOCK.findall(text) if language == 'text')
    for found in _FIGURE.finditer(prose(_WRITTEN.sub('', text))):
        number = found.group(1).rstrip('.,')
        if found.group() not in allowed and not re.search(r'(?<![\d.]){}(?![\d.]*\d)'.format(re.escape(number)), shown):
            yield 'a figure that nothing repeats: {!r}'.format(found.group())


def script_breaches(text):
    """Parts that a script writes: the script exists and knows the name, and the part ends."""
    if len(_WRITTEN.findall(text)) != re.sub('`[^`\n]*`', '', text).count(': written by '):
        yield 'a part that is written by a script has no end, or another name there'
    for _, path, _ in _WRITTEN.findall(text):
        if not os.path.exists(os.path.join(ROOT, path)):
            yield 'no script {}'.format(path)


def anchors(text):
    """The anchors of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r'^#+ +(.*?) *#*$', _COMMENT.sub('', _ANY_BLOCK.sub('', text)), re.MULTILINE)
    plain = (re.sub(r'[`*]|!?\[|\]\([^)]*\)', '', heading) for heading in headings)
    return [re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-') for heading in plain]


def link_breaches(path, text):
    """Links without a target. A page of docs/ links to files of docs/ only, because the site has no others."""
    inside = path.startswith(DOCS + os.sep)
    for link in _LINK.findall(_COMMENT.sub('', re.sub('`[^`\n]*`', '`', _ANY_BLOCK.sub('', text)))):
        target, anchor = urldefrag(unquote(link))
        if re.match(r'https?://|mailto:', target):
            continue
        file = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        if not os.path.exists(file):
            yield 'no file for the link ' + link
        elif inside and not file.startswith(DOCS + os.sep):
            yield 'a link out of the site: ' + link
        elif anchor:
            with open(file, encoding='utf-8') as stream:
                found = anchors(stream.read()).count(anchor)
            if found != 1:
                yield '{} anchors for the link {}'.format(found or 'no', link)


def runs(test, path):
    """Whether a test file, by its source, runs the blocks of a page: it names the page, or its folder and either all or it."""
    if not re.search(r'\b(?:run_page|Runs|run_sh)\(|\.run\(', test):
        return False
    texts = {node.s.partition('{')[0].rstrip('/') for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Str)}
    folder, name = os.path.split(os.path.splitext(path)[0])
    folders = [folder[:end.start()] for end in re.finditer('/|$', folder)] if folder else []
    return bool({path, path[:-3]} & texts or set(folders) & texts and (
        re.search(r'\bpages\(', test) or {name, name + '.md'} & texts))


def read(path):
    """(absolute path, text) of a page in docs/ or, by '../', of another document."""
    page = Page(path)
    return os.path.normpath(page.path), page.text
