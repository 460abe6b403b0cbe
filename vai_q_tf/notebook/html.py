"""HTML for notebooks: tables of escaped text, without scripts and colours, so they are as light or dark as what is around.

Classes give it to a notebook as `_repr_html_`.
"""
from html import escape

_MOST = 15


def html_table(head, rows, most=_MOST):
    """A table of cells, numbers or texts; rows after the first `most` are folded away. '' without rows.

    head: the titles of the columns. Cells that are numbers stand on the right.
    """
    rows = list(rows)
    more = folded('{} more'.format(len(rows) - most), _table(head, rows[most:])) if len(rows) > most else ''
    return _table(head, rows[:most]) + more if rows else ''


def html_text(text):
    """A paragraph."""
    return '<p>{}</p>'.format(escape(str(text)))


def html_list(title, texts):
    """A title with a list of texts below it; '' without texts."""
    items = ''.join('<li>{}</li>'.format(escape(str(text))) for text in texts)
    return '<p><b>{}</b></p><ul>{}</ul>'.format(escape(title), items) if items else ''


def folded(title, html):
    """HTML that a click on its title shows; '' where there is none."""
    return '<details><summary>{}</summary>{}</details>'.format(escape(title), html) if html else ''


def block(title, *parts):
    """What a `_repr_html_` returns: a bold title and pieces of HTML."""
    return '<div><p><b>{}</b></p>{}</div>'.format(escape(title), ''.join(parts))


def _table(head, rows):
    return '<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'.format(
        ''.join(map(_head, head)), ''.join('<tr>{}</tr>'.format(''.join(map(_cell, row))) for row in rows))


def _head(title):
    return '<th scope="col">{}</th>'.format(escape(str(title)))


def _cell(value):
    side = 'right' if isinstance(value, (int, float)) and not isinstance(value, bool) else 'left'
    return '<td style="text-align:{}">{}</td>'.format(side, escape(shown(value)))


def shown(value):
    """The text of a cell: numbers with four digits, lists and tuples with commas."""
    if isinstance(value, float):
        return '{:.4g}'.format(value)
    return ', '.join(map(shown, value)) if isinstance(value, (list, tuple)) and value else str(value)
