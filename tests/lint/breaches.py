"""Checks of lint rules on the smallest graphs that break one, and on their neighbours that do not."""
from vai_q_tf.lint.lint import lint


def check_breach(rule, breaking, where):
    """Asserts that a GraphDef breaks that rule only, once, at the node `where`."""
    before = breaking.SerializeToString(deterministic=True)
    finding, = lint(breaking)
    assert (finding.rule, finding.node) == (rule, where)
    assert len(finding.message.split('. ')) >= 2, 'what the compiler does, and what to change'
    assert str(finding) == '{} [{}]: {}'.format(where or 'the graph', rule, finding.message)
    assert breaking.SerializeToString(deterministic=True) == before


def check_cases(cases, rules, rule):
    """Asserts that each breach in `cases`, {rule: ([(GraphDef, node)], [neighbours])}, is found once, and no neighbour."""
    breaking, obeying = cases[rule]
    for breach, where in breaking:
        found = [finding for finding in lint(breach) if finding.rule in rules]
        assert [(finding.rule, finding.node) for finding in found] == [(rule, where)], breach
        assert len(found[0].message.split('. ')) >= 2, 'what is wrong, and what to change'
    for neighbour in obeying:
        assert not [str(finding) for finding in lint(neighbour) if finding.rule in rules]
