"""A table as LaTeX: a longtable with the rules of booktabs."""

from itertools import groupby

from onnxnnw.report.tables.table import ReportTable, TableEntry

__all__ = ["render"]

_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "α": r"$\alpha$",
        "λ": r"$\lambda$",
        "ρ": r"$\rho$",
        "±": r"$\pm$",
        "≤": r"$\leq$",
        "−": r"$-$",
        "…": r"\ldots{}",
        "–": "--",
    }
)


def render(table: ReportTable) -> str:
    """Needs the packages longtable, booktabs and, for its quotes, an encoding such as T1."""
    columns = table.columns
    shape = "".join("r" if column.numeric else "l" for column in columns)
    lines = [f"% {' '.join(table.heading.split())}", rf"\begin{{longtable}}{{{shape}}}"]
    lines += [rf"\caption{{{_plain(table.heading)}}} \label{{tab:{table.id}}} \\", r"\toprule"]
    if any(column.over for column in columns):
        spans = [(name, len(list(inner))) for name, inner in groupby(columns, key=lambda column: column.over)]
        lines.append(" & ".join(rf"\multicolumn{{{span}}}{{c}}{{{_plain(name)}}}" for name, span in spans) + r" \\")
    lines += [" & ".join(_plain(column.title) for column in columns) + r" \\", r"\midrule", r"\endhead"]
    for group in table.groups:
        if group.title:
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{\textbf{{{_plain(group.title)}}}}} \\")
        lines += [" & ".join(map(_cell, row)) + r" \\" for row in group.rows]
    lines += [r"\bottomrule", r"\end{longtable}"]
    lines += [rf"\noindent\emph{{Cut down:}} {_plain(sentence)}\par" for sentence in table.cuts]
    lines += [rf"\noindent\emph{{Contradiction in the standard:}} {_plain(sentence)}\par" for sentence in table.flags]
    lines += [rf"\noindent {_plain(sentence)}\par" for sentence in table.notes]
    return "\n".join(lines) + "\n"


def _cell(entry: TableEntry) -> str:
    text = _plain(entry.text)
    return rf"{text} $\pm$ {entry.margin}" if entry.margin else text


def _plain(text: str) -> str:
    return text.translate(_SPECIAL)
