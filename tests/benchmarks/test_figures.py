"""Figures that documents cite are those of the tables of docs/accuracy.md, which the measurements write."""
import re

from tests.examples.blocks import Document

_FIGURE = re.compile(r'\d+\.\d+ ± \d+\.\d+')


def test_the_tables_of_the_readme_are_a_part_of_those_of_the_document():
    cited, measured = (re.findall(_FIGURE, Document(*path).text) for path in (['README.md'], ['docs', 'accuracy.md']))
    assert len(cited) > 30 and set(cited) <= set(measured)


def test_the_readme_gives_each_figure_in_the_row_of_its_recipe_and_the_column_of_its_network():
    names = {'quantization-aware: default': 'default', 'post-training': 'post-training', 'float': 'float',
             'quantization-aware: the original\'s scheme': 'original',
             'quantization-aware: batch statistics, moving positions': 'batch statistics, moving positions'}
    readme, document = Document('README.md').text, Document('docs', 'accuracy.md').text
    short = readme.partition('<!-- accuracy in short')[2].partition('<!-- end')[0]
    head, _, *rows = [_cells(line) for line in short.splitlines() if line[:1] == '|']
    table = {tuple(cells[:2]): cells[-2] for cells in map(_cells, document.partition('## In training')[2].splitlines())
             if len(cells) == 6}
    assert len(rows) == len(names)
    for recipe, *figures in rows:
        for network, figure in zip(head[1:], figures):
            assert table[network, names[recipe]].startswith(figure), (recipe, network)


def _cells(line):
    return [cell.strip() for cell in line.strip().strip('|').split('|')]
