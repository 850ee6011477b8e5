"""The text of a use case's file: at most 80 lines, formatted, with what was seen beside each column."""

import math
from collections.abc import Iterable, Sequence

from mlops_lab.draft.choose import Draft
from mlops_lab.draft.columns import Column
from mlops_lab.formatting import counted, number

# Characters of a line, as the formatter of this repository has them; a comment may stand out.
WIDTH = 110
# Lines of the file. With more columns than fit, those of one kind share lines.
LINES = 80
# Lines that aren't columns.
FRAME = 32
KINDS = {
    "number": "Number",
    "integer": "Integer",
    "boolean": "Boolean",
    "date": "Date",
    "category": "Category",
}


def use_case_text(draft: Draft) -> str:
    """The whole file."""
    key_lines = len(_key(draft, wide=False)) if draft.group_key else 0
    wide = len(draft.features) + key_lines > LINES - FRAME
    names = {KINDS[column.kind] for column in (*draft.features, draft.target) if column.kind}
    if draft.extra:
        names.add("Category")
    candidates = _candidates(draft)
    names |= {"UseCase", draft.metric} | {text.partition("(")[0] for text in candidates}
    lines = [
        f'"""What {_prose(draft.target.name)} is, learnt from {_prose(draft.source)} ({counted(draft.rows, "row")}).',
        "",
        "Drafted by `lab new`: units, titles and descriptions are yours to add.",
        '"""',
        "",
        *_broken("from mlops_lab import ", sorted(names, key=_import_order), ("(", ")")),
        "",
    ]
    if draft.left_out:
        lines += ["# Left out:", *_comments(draft.left_out), ""]
    target, classes = _target(draft)
    lines += classes
    groups = _grouped(draft.features) if wide else {}
    for kind, columns in groups.items():
        lines += [*_table(kind, columns), ""]
    lines += [
        "USE_CASE = UseCase(",
        f'    name="{draft.name}",',
        f"    title={_quoted(_title(draft.target.name))},",
        f'    dataset="{draft.name}",  # the file {draft.name}.csv in the Data API\'s folder',
        f"    target={target},",
    ]
    if draft.extra:
        lines += _items(
            "extra", [_call("Category", [_quoted(c.name), "allow_unknown=True"]) for c in draft.extra]
        )
    if draft.group_key:
        lines += [f"    # Rows that belong together stay in one split: {_line(draft.group_reason)}."]
        lines += _key(draft, wide)
    if draft.missing:
        lines += _broken("    missing=", [_quoted(token) for token in draft.missing], ("[", "],"))
    lines += ["    features=["]
    if wide:
        lines += [f"        *{line}," for kind in groups for line in _unpacked(kind)]
    else:
        lines += [f"        {_feature(column)},{_comment(column)}" for column in draft.features]
    lines += ["    ],"]
    lines += _items("candidates", candidates)
    lines += [f"    metric={draft.metric},  # {draft.metric_reason}", ")"]
    return "\n".join(lines) + "\n"


def accepted(column: Column) -> str:
    """The values that the declaration of a feature takes, in words; rows with others go to quarantine."""
    if column.kind in ("number", "integer"):
        return f"{number(_floor(column))} to {number(_ceiling(column))}"
    return {"boolean": "yes or no", "date": "any day", "category": "any text"}.get(column.kind or "", "")


def _target(draft: Draft) -> tuple[str, list[str]]:
    """(the declaration of the target, the lines of the constant with its classes, when these need more than a line)."""
    if draft.task != "multiclass":
        return _feature(draft.target), []
    name, classes = _quoted(draft.target.name), [_quoted(value) for value in draft.target.values]
    target = _call("Category", [name, f"allowed=[{', '.join(classes)}]"])
    if len(f"    target={target},") <= WIDTH:
        return target, []
    return _call("Category", [name, "allowed=CLASSES"]), [*_filled("CLASSES = [", classes, "]"), ""]


def _key(draft: Draft, wide: bool) -> list[str]:
    names = [_quoted(name) for name in draft.group_key]
    if wide and len(names) > 12:
        # The constants have these names already.
        names = [f"*{_constant(kind)}" for kind in _grouped(draft.features)]
    return _broken("    group_key=", names, ("[", "],"))


def _candidates(draft: Draft) -> list[str]:
    log = ["log_target=True"] if draft.log else []
    encoding = ['encoding="target"'] if draft.encoding == "target" else []
    linear = _call("ridge", log) if draft.task == "regression" else "logistic_regression()"
    return [linear, _call("random_forest", log + encoding), _call("gradient_boosting", log + encoding)]


def _feature(column: Column) -> str:
    """The declaration of a feature or target."""
    arguments = [_quoted(column.name)]
    if column.kind in ("number", "integer"):
        arguments += [f"minimum={_literal(_floor(column))}", f"maximum={_literal(_ceiling(column))}"]
    if column.kind == "category":
        arguments += ["allow_unknown=True"]
        if column.width:
            arguments += [f"width={column.width}"]
    return _call(KINDS[column.kind or "category"], arguments)


def _comment(column: Column) -> str:
    seen = column.seen if len(column.seen) <= 60 else column.seen[:59] + "…"
    missing = f"; {column.missing / column.rows:.0%} missing" if column.missing >= 0.005 * column.rows else ""
    return f"  # {_line(seen)}{missing}"


def _comments(columns: Iterable[Column]) -> list[str]:
    """Each reason once, with its columns."""
    reasons: dict[str, list[str]] = {}
    for column in columns:
        reasons.setdefault(column.note, []).append(column.name)
    lines = []
    for reason, names in list(reasons.items())[:8]:
        some = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        lines.append(f"#   {_line(some)}: {_line(reason)}")
    if len(reasons) > 8:
        lines.append(f"#   and {len(reasons) - 8} more")
    return lines


def _floor(column: Column) -> float:
    """A round number well below the least value; 0 when none is negative."""
    if column.low >= 0:
        return 0.0
    return -_round_up(-(column.low - (column.high - column.low) / 2))


def _ceiling(column: Column) -> float:
    """A round number well above the greatest value."""
    top = column.high + (column.high - min(column.low, 0.0)) / 2
    return _round_up(top) if top > 0 else 0.0


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    value = max(value, 1e-300)
    scale = 10.0 ** math.floor(math.log10(value))
    found = next(step for step in (1, 2, 5, 10) if step * scale >= value * (1 - 1e-9))
    return found * scale


def _literal(value: float) -> str:
    if abs(value) >= 1e15 or (value and abs(value) < 1e-4):
        return f"{value:g}".replace("e+", "e")
    if value == int(value):
        return f"{int(value):_}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.10f}".rstrip("0")


def _call(name: str, arguments: Sequence[str]) -> str:
    return f"{name}({', '.join(arguments)})"


def _items(name: str, items: Sequence[str]) -> list[str]:
    """`name=[…],` of the declaration, on one line, on one inner line, or with a line for each item."""
    return _broken(f"    {name}=", items, ("[", "],"))


def _broken(start: str, items: Sequence[str], brackets: tuple[str, str]) -> list[str]:
    """A list as the formatter breaks it: on one line, on one inner line, or with a line for each item."""
    one, close = ", ".join(items), brackets[1]
    plain = start.endswith("import ")
    line = f"{start}{one}" if plain else f"{start}{brackets[0]}{one}{close}"
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(start) - len(start.lstrip()))
    if len(indent) + 4 + len(one) <= WIDTH and not plain:
        return [f"{start}{brackets[0]}", f"{indent}    {one}", f"{indent}{close}"]
    return [f"{start}{brackets[0]}", *(f"{indent}    {item}," for item in items), f"{indent}{close}"]


def _grouped(columns: Sequence[Column]) -> dict[str, list[Column]]:
    """Columns by kind, for a table with many."""
    groups: dict[str, list[Column]] = {}
    for column in columns:
        groups.setdefault(column.kind or "", []).append(column)
    return groups


def _table(kind: str, columns: Sequence[Column]) -> list[str]:
    """A constant with the columns of one kind, several on a line."""
    if kind in ("number", "integer"):
        items = [f"{_quoted(c.name)}: ({_literal(_floor(c))}, {_literal(_ceiling(c))})" for c in columns]
        return _filled(f"{_constant(kind)} = {{  # the least and the greatest value", items, "}")
    return _filled(f"{_constant(kind)} = [", [_quoted(column.name) for column in columns], "]")


def _filled(start: str, items: Sequence[str], end: str) -> list[str]:
    """A list or dictionary with as many items on each line as fit."""
    lines, line = [start], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return [*lines, line, end + "  # fmt: skip"]


def _constant(kind: str) -> str:
    return "CATEGORIES" if kind == "category" else f"{kind.upper()}S"


def _unpacked(kind: str) -> list[str]:
    if kind in ("number", "integer"):
        bounded = f"{KINDS[kind]}(name, minimum=low, maximum=high)"
        return [f"({bounded} for name, (low, high) in {_constant(kind)}.items())"]
    unknown = ", allow_unknown=True" if kind == "category" else ""
    return [f"({KINDS[kind]}(name{unknown}) for name in {_constant(kind)})"]


def _quoted(text: str) -> str:
    """A text as the formatter writes it: in double quotes, unless it has more of them than of single ones."""
    found = repr(text)
    if found.startswith("'") and '"' not in text:
        return f'"{found[1:-1]}"'
    return found


def _prose(text: str) -> str:
    """A name as it can stand in a docstring."""
    return _line(text).replace("\\", "/").replace('"', "'")


def _line(text: str) -> str:
    """A text of the file as it can stand in a comment: what ends a line of Python would end the comment, too."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def _import_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as the linter sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name
