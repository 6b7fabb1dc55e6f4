"""
What the ``[lint]`` extra adds: the syntax by Lua 5.1 itself (lupa), and all other rules by
a syntax tree (tree-sitter), which knows aliases, helper functions and scopes.

Needs the extra: importing it without raises ImportError.
"""

from __future__ import annotations

from ..lint import Finding, advice, lies
from ..script import Script
from .compiler import syntax_faults
from .names import name_faults
from .reader import read_tree
from .replies import reply_faults
from .tree import Tree
from .values import Values


def findings(script: Script) -> list[Finding]:
    """All that is to be said, in order of lines; of a script that does not compile, only why."""
    faults = syntax_faults(script.source)
    if any(each.rule == "syntax" for each in faults):
        return faults
    return sorted([*faults, *rules(script)], key=lambda each: each.line or 0)


def rules(script: Script) -> list[Finding]:
    """What the rules say of a script that compiles, in order of lines."""
    tree = Tree(script.source)
    if tree.root.has_error:  # the tree's grammar and Lua's differ here: trust the tokens
        return [*lies(script), *advice(script)]
    values = Values(tree)
    reading = read_tree(values)
    found = [*lies(script, reading), *advice(script, reading)]
    found += [*name_faults(values), *reply_faults(values)]
    return sorted(dict.fromkeys(found), key=lambda each: each.line or 0)
