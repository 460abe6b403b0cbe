"""What tests of lint rules have in common: smallest graphs that break a rule, and their neighbours that do not."""
from vai_q_tf.lint.lint import lint


def check_cases(cases, rules, rule):
    """Asserts that each breach in `cases`, {rule: ([(GraphDef, node)], [neighbours])}, is found once, and no neighbour."""
    breaking, obeying = cases[rule]
    for breach, where in breaking:
        found = [finding for finding in lint(breach) if finding.rule in rules]
        assert [(finding.rule, finding.node) for finding in found] == [(rule, where)], breach
        assert len(found[0].message.split('. ')) >= 2, 'what is wrong, and what to change'
    for neighbour in obeying:
        assert not [str(finding) for finding in lint(neighbour) if finding.rule in rules]
