"""Tables in documents, each between two comments that name it and the script that writes it."""
import os
import statistics

NOTHING = '–'
_BEGIN, _END = '<!-- {}: written by benchmarks/accuracy/{} -->', '<!-- end of {} -->'


def table(rows):
    """The text of a table, the first row its head."""
    lines = ['| {} |'.format(' | '.join(row)) for row in rows]
    return '\n'.join(lines[:1] + ['|' + ' --- |' * len(rows[0])] + lines[1:])


def cells(text, title):
    """{(network, row, column): cell} of the table below a title of a document; empty without the table."""
    part = text.partition('### {}\n'.format(title))[2].partition('\n#')[0]
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in part.splitlines() if line.startswith('|')]
    return {(*line[:2], column): cell for line in lines[2:] for column, cell in zip(lines[0][2:], line[2:])}


def width(bits):
    """The name of a width in tables."""
    return 'W{0}A{0}'.format(bits)


def percent(mean, spread=None, difference=None):
    """The text of an accuracy, without spread or difference if they are None."""
    text = '{:.2f}'.format(mean)
    if spread is not None:
        text += ' ± {:.2f}'.format(spread)
    if difference is not None:
        text += ' ({:+.2f})'.format(difference).replace('-', '−')
    return text


def spread(values):
    """Sample standard deviation; None of a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def replace(text, name, script, content):
    """The text with the content between the two comments of that name."""
    begin, end = _BEGIN.format(name, script), _END.format(name)
    if not 0 <= text.find(begin) < text.find(end):
        raise SystemExit('error: the comments {} and {} are not there, in this order'.format(begin, end))
    return text[:text.index(begin) + len(begin)] + '\n\n' + content + '\n\n' + text[text.index(end):]


def write(directory, script, contents):
    """Writes into the documents below the directory; contents: a list of (path, name, content)."""
    for path, name, content in contents:
        path = os.path.join(directory, path)
        with open(path, encoding='utf-8') as stream:
            text = stream.read()
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(replace(text, name, script, content))
