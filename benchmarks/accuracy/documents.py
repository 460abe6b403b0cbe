"""Tables in documents, each between two comments that name it and the script that writes it."""
import argparse
import os
import statistics

import results

NOTHING = '–'
_BEGIN, _END = '<!-- {}: written by benchmarks/accuracy/{} -->', '<!-- end of {} -->'


def asked(arguments, description, file, document):
    """What the arguments of a report ask for: (lines of results, text of the document if figures stay, whether to print)"""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', nargs='+', default=[file], help='files; default: %(default)s')
    parser.add_argument('--keep', action='store_true', help='keep the figures in the document of runs that have no results')
    parser.add_argument('--print', action='store_true', help='print the tables and leave the documents as they are')
    options = parser.parse_args(arguments)
    kept = ''
    if options.keep:
        with open(os.path.join(results.ROOT, document), encoding='utf-8') as stream:
            kept = stream.read()
    return [line for path in options.results for line in results.read(path)], kept, options.print


def table(rows, kept='', title='', names=2):
    """The text of a table, the first row its head.

    kept: a text; cells with NOTHING stay as in its table below the title. names: the number of columns that name a row.
    """
    before = cells(kept, title, names)
    for row in rows[1:]:
        row[names:] = [before.get((*row[:names], column), cell) if cell == NOTHING else cell
                       for column, cell in zip(rows[0][names:], row[names:])]
    lines = ['| {} |'.format(' | '.join(row)) for row in rows]
    return '\n'.join(lines[:1] + ['|' + ' --- |' * len(rows[0])] + lines[1:])


def cells(text, title, names=2):
    """{(*the names of a row, column): cell} of the table below a title of a document; empty without the table."""
    part = text.partition('### {}\n'.format(title))[2].partition('\n#')[0]
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in part.splitlines() if line.startswith('|')]
    return {(*line[:names], column): cell for line in lines[2:] for column, cell in zip(lines[0][names:], line[names:])}


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
