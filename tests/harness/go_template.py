"""As much of Go's text/template as a Modelfile of ours has: texts, .Field, variables, eq, if / else if / else, range.

Source: https://pkg.go.dev/text/template."""

import re

ACTION = re.compile(r"\{\{ ?(.*?) ?\}\}", re.DOTALL)


def render(template, data):
    """The text of a template. data: {"System": ..., "Messages": [{"Role", "Content"}]}"""
    parts = [part if i % 2 else ("text", part) for i, part in enumerate(ACTION.split(template))]
    nodes, rest = _block(parts)
    assert not rest, rest
    return _run(nodes, data, {})


def _block(parts):
    """Nodes up to the end or else that closes them -> (nodes, what comes from there on)."""
    nodes = []
    while parts:
        head, *parts = parts
        if isinstance(head, tuple):
            nodes.append(head)
        elif head == "end" or head.startswith("else"):
            return nodes, [head, *parts]
        elif head.startswith("if "):
            node, parts = _if(head[3:], parts)
            nodes.append(node)
        elif head.startswith("range "):
            body, (end, *parts) = _block(parts)
            assert end == "end"
            nodes.append(("range", head[6:], body))
        else:
            nodes.append(("action", head))
    return nodes, []


def _if(condition, parts):
    then, (close, *parts) = _block(parts)
    if close.startswith("else if "):
        node, parts = _if(close[8:], parts)
        return ("if", condition, then, [node]), parts
    otherwise = []
    if close == "else":
        otherwise, (close, *parts) = _block(parts)
    assert close == "end"
    return ("if", condition, then, otherwise), parts


def _run(nodes, dot, variables):
    out = ""
    for kind, *rest in nodes:
        if kind == "text":
            out += rest[0]
        elif kind == "if":
            out += _run(rest[1] if _value(rest[0], dot, variables) else rest[2], dot, variables)
        elif kind == "range":
            out += "".join(_run(rest[1], one, variables) for one in _value(rest[0], dot, variables))
        elif match := re.fullmatch(r"(\$\w+) :?= (.+)", rest[0]):
            variables[match[1]] = _value(match[2], dot, variables)
        else:
            out += _value(rest[0], dot, variables)
    return out


def _value(text, dot, variables):
    if text.startswith("eq "):
        a, b = text[3:].split(" ", 1)
        return _value(a, dot, variables) == _value(b, dot, variables)
    if text.startswith('"'):
        return text[1:-1].replace("\\n", "\n")
    if text.startswith("$"):
        return variables[text]
    return {"true": True, "false": False}[text] if text in ("true", "false") else dot[text[1:]]
