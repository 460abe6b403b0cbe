"""Reads tables of Markdown pages."""
import re

_CELLS = re.compile(r'(?<!\\)\|')


def tables(text):
    """The tables of a page: [[cells of a row]], the head first."""
    found = []
    for block in re.findall(r'(?:^\|.*\|\n)+', text + '\n', re.MULTILINE):
        rows = [[cell.strip() for cell in _CELLS.split(line)[1:-1]] for line in block.splitlines()]
        found.append([rows[0]] + rows[2:])
    return found


def rows(text, first):
    """{code in the first cell: {head: cell}} of the tables whose first head is `first`; a code occurs once."""
    found = {}
    for head, *others in tables(text):
        if head[0] == first:
            for cells in others:
                assert len(cells) == len(head), cells
                code, = re.findall(r'`([^`]+)`', cells[0])[:1]
                assert code not in found, code
                found[code] = dict(zip(head, cells))
    return found


def section(text, title):
    """The text from a heading up to the next one of its level or above."""
    level = title.split(' ')[0]
    start = text.index('\n{}\n'.format(title))
    end = re.search(r'^#{{1,{}}} '.format(len(level)), text[start + len(title) + 2:], re.MULTILINE)
    return text[start:start + len(title) + 2 + end.start()] if end else text[start:]
