"""Hooks of mkdocs.yml: the API pages, and the checks of the site that mkdocs does not have.

mkdocs loads this file by its path, so it imports nothing of the repository. Tests: test_site.py.
"""
import collections
import logging
import os
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote, urldefrag

# Documents outside of docs/ whose spelling is checked as well; test_site.py checks their links.
DOCUMENTS = ('README.md', 'CONTRIBUTING.md')

# mkdocs --strict counts the warnings of loggers with this prefix.
_LOG = logging.getLogger('mkdocs.plugins.site_hooks')
_BEFORE_NT = ('aren', 'couldn', 'didn', 'doesn', 'hadn', 'hasn', 'haven', 'isn', 'shouldn', 'wasn', 'weren', 'wouldn')
_API_HEADING = re.compile(r'^## (\w+)\n\n(?=::: )', re.MULTILINE)


def on_config(config):
    spelling = config['plugins']['spellcheck']
    spelling.backends = {name: _Words(backend) for name, backend in spelling.backends.items()}


class _Words:
    """A checker of words without names such as `input_fn`, which docstrings have without backquotes, and without half words."""

    def __init__(self, backend):
        self._backend = backend

    def check(self, page, word):
        if '_' not in word and word not in _BEFORE_NT:
            self._backend.check(page, word)


def on_page_markdown(markdown, **_):
    """Leaves the anchor of a heading before `:::` alone: mkdocstrings makes the heading, with the signature."""
    return _API_HEADING.sub(lambda heading: '<a id="{}"></a>\n\n'.format(heading.group(1).lower()), markdown)


def on_post_build(config):
    for problem in broken_links(config['site_dir']):
        _LOG.warning(problem)
    from markdown import Markdown
    root = os.path.dirname(config['config_file_path'])
    for name in DOCUMENTS:
        with open(os.path.join(root, name), encoding='utf-8') as stream:
            html = Markdown(extensions=['tables', 'pymdownx.superfences']).convert(stream.read())
        page = SimpleNamespace(file=SimpleNamespace(src_path=name, src_uri=name))
        config['plugins']['spellcheck'].on_page_content(html, page=page, config=config, files=None)


class _Links(HTMLParser):
    """ids: the anchors of a page. links: where it leads to. fetched: files from elsewhere that it is made of."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.links, self.fetched = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.update(filter(None, [values.get('id'), tag == 'a' and values.get('name')]))
        links = list(filter(None, [values.get('href'), values.get('src')]))
        self.links += links
        self.fetched += [link for link in links if tag != 'a' and re.match(r'(https?:)?//', link)]


def broken_links(site):
    """Sentences on links within a built site to files or anchors that do not exist, and on files from elsewhere."""
    pages = {}
    for folder, _, names in os.walk(site):
        for name in names:
            if name.endswith('.html') and name != '404.html':
                with open(os.path.join(folder, name), encoding='utf-8') as stream:
                    pages[os.path.join(folder, name)] = _Links(stream.read())
    problems = collections.defaultdict(list)  # {problem: the pages that have it}
    for path, page in sorted(pages.items()):
        def note(problem, path=path):
            problems[problem].append(os.path.relpath(path, site))
        for link in page.links:
            target, anchor = urldefrag(link)
            if re.match(r'\w+:|//', target):
                continue
            file = os.path.normpath(os.path.join(os.path.dirname(path), unquote(target))) if target else path
            if os.path.isdir(file):
                file = os.path.join(file, 'index.html')
            shown = os.path.relpath(file, site)
            if not os.path.exists(file):
                note('no file {}'.format(shown))
            elif anchor and file in pages and unquote(anchor) not in pages[file].ids | {'__search', '__skip'}:
                note('no anchor {}#{}'.format(shown, anchor))
        for link in page.fetched:
            note('fetches {}'.format(link))
    return ['{}{}: {}'.format(found[0], ' and {} more'.format(len(set(found)) - 1) if len(set(found)) > 1 else '', problem)
            for problem, found in problems.items()]
