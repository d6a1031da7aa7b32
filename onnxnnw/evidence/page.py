"""The answer about one file as a page for people: self-contained, for a phone, the dark and paper, whatever the names in it say.

What was asked, the answer, how sure it is, what happened on the way layer by layer, what could not be read, what a third party can
hold on to, and how to do it again.
"""

import shlex
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from onnxnnw.evidence.answer import Answer
from onnxnnw.evidence.rules import NO, UNSURE, YES
from onnxnnw.texts import visible
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.verdict import Verdict

__all__ = ["page_of"]

MAX_ROWS, MAX_RECORDS, MAX_TEXT = 200, 200, 4_000
_TITLES = {YES: "Yes", NO: "No", UNSURE: "Could not tell"}
_CLASSES = {YES: "yes", NO: "no", UNSURE: "unsure"}
_MEANING = {
    "identical": "The canonical digests are equal: this is the very network that was enrolled.",
    "traced": "The mark or fingerprint of the record is in this network.",
    "not traced": "The mark or fingerprint of the record is not in this network, and enough was read to say so.",
    "inconclusive": "Too little could be read to say whether it is there.",
}


def page_of(answers: Sequence[Answer], version: str, time: str, commands: Sequence[str]) -> str:
    """The page, as HTML.

    Args:
        answers: One section each.
        time: When it was verified.
        commands: What was typed, to do it again.
    """
    style = resources.files("onnxnnw.evidence").joinpath("page.css").read_text("utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    title = (
        f"{_TITLES[max(a.code for a in answers)]}: {answers[0].name.rpartition('/')[2]}"
        if len(answers) == 1
        else "Answers"
    )
    sections = "".join(_section(answer, number) for number, answer in enumerate(answers))
    several = _contents(answers) if len(answers) > 1 else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{_t(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{several}{sections}"
        f"<section>\n<h2>To do it again</h2>\n{_commands(commands)}"
        "<p>The answer depends on files, records, policy and version only; runs of one version agree to the last digit.</p>\n"
        "</section>\n</main>\n"
        f"<footer><p>onnxnnw {_t(version)}, {_t(time)}</p></footer>\n</body>\n</html>\n"
    )


def _contents(answers: Sequence[Answer]) -> str:
    rows = [
        f'<li><a href="#answer-{n}"><b class="{_CLASSES[a.code]}">{_TITLES[a.code]}</b> {_t(a.name)}</a></li>\n'
        for n, a in enumerate(answers)
    ]
    return f"<nav><h1>{len(answers)} files</h1>\n<ul>\n{''.join(rows)}</ul></nav>\n"


def _section(answer: Answer, number: int) -> str:
    best = answer.best
    parts = [
        f'<article id="answer-{number}">\n<header class="{_CLASSES[answer.code]}">\n'
        f'<p class="file">{_t(answer.name)}</p>\n<h1>{_TITLES[answer.code]}</h1>\n{_in_short(answer)}</header>\n',
        _asked(answer),
        _problems(answer),
    ]
    if best is not None:
        parts += [_sure(best), _findings(best), _unread(best), _hold_on(best, answer), _records(answer)]
    elif answer.subject is not None:
        parts.append(_block("The file", _list(_files(answer))))
    return "".join(parts) + "</article>\n"


def _in_short(answer: Answer) -> str:
    best = answer.best
    if best is None:
        return f"<p>{_t(answer.sentence)}</p>\n"
    who = " ".join(part for part in (best.role, best.actor) if part)
    of = f", of {_t(who)}" if who else ""
    meaning = f"<p>{_t(_MEANING[best.decision])}</p>\n"
    return f"<p><strong>{_t(best.decision)}</strong>: record {_t(best.record)}{of}</p>\n{meaning}"


def _asked(answer: Answer) -> str:
    warns = "" if answer.enforced or not answer.problems else "<p>The policy warns only: nothing is held up.</p>\n"
    notes = _bullets(answer.notes)
    return _block("What was asked", f"<p>{_t(answer.asked)}</p>\n{warns}{notes}")


def _problems(answer: Answer) -> str:
    if not answer.problems:
        return ""
    rows = [
        f"<li><b>{_t(p.sentence)}</b><br>{_t(p.rule.advice)} <small>{p.rule.id} {p.rule.name}</small></li>\n"
        for p in answer.problems[:MAX_ROWS]
    ]
    return _block("Why the gate stays shut", f"<ul>\n{''.join(rows)}</ul>\n{_more(len(answer.problems))}")


def _sure(verdict: Verdict) -> str:
    chance = f"10<sup>{_number(verdict.log10_p)}</sup>"
    nominal = " (nominal: weights of one network are not independent)" if verdict.kind == "fingerprint" else ""
    rows = [
        (
            "p-value",
            f"{chance}{_t(nominal)}: how often a network that has nothing to do with the record looks like this",
        ),
        ("false-positive rate", f"{verdict.rate:g} over all records together"),
        ("effect", f"{verdict.effect:.3f}: 1 where all is as expected, 0 where nothing is"),
        ("read", f"{verdict.read:,} of {verdict.positions:,} {_t(verdict.unit)}, {_bar(verdict.coverage)}"),
        (
            "explained",
            f"{verdict.explained:.1%} at least of what is stored, {_bar(verdict.explained)}",
        ),
        ("differ", f"{verdict.account.disagree:,} of {verdict.account.looked_at:,} numbers that were looked at"),
        ("the standard's decision", f"{_t(verdict.standard.sentence)}, nominal"),
    ]
    if verdict.payload is not None:
        rows.append(
            (
                "payload",
                f"{_t(repr(verdict.payload.text))}, {verdict.payload.errors:,} of {verdict.payload.symbols:,} Symbols wrong",
            )
        )
    if verdict.source_id or verdict.destination_id:
        rows.append(("handed on", f"from {_t(verdict.source_id or '?')} to {_t(verdict.destination_id or '?')}"))
    return _block("How sure that is", _list(rows))


def _findings(verdict: Verdict) -> str:
    if not verdict.findings:
        return _block("What happened on the way", "<p>Nothing that leaves traces at the record's positions.</p>\n")
    whole = "".join(_finding(finding) for finding in verdict.findings)
    return _block("What happened on the way", whole)


def _finding(finding: Finding) -> str:
    accuses = ' class="accuses"' if finding.accuses else ""
    head = f"<h3{accuses}>{_t(finding.name)}</h3>\n<p>{_t(finding.sentence)}</p>\n"
    if not finding.slots:
        return head
    names = list(dict.fromkeys(name for evidence in finding.slots.values() for name in evidence))
    header = "".join(f"<th>{_t(name.replace('_', ' '))}</th>" for name in ("weight", *names))
    rows = [
        f"<tr><td>{_t(slot)}</td>{''.join(f'<td>{_value(evidence.get(name))}</td>' for name in names)}</tr>\n"
        for slot, evidence in list(finding.slots.items())[:MAX_ROWS]
    ]
    table = f'<div class="scroll" tabindex="0"><table>\n<tr>{header}</tr>\n{"".join(rows)}</table></div>\n'
    return f"{head}<details{' open' if len(rows) <= 12 else ''}><summary>{len(rows)} weights</summary>\n{table}</details>\n"


def _unread(verdict: Verdict) -> str:
    left = [f"{amount:,} of {name}" for name, amount in verdict.account.parts.items() if amount]
    said = []
    if verdict.decision == "identical":
        said.append("Nothing: a digest leaves nothing out.")
    elif left:
        said.append(f"Not explained by the record: {', '.join(left)}.")
    if verdict.absent or verdict.unread:
        said.append(
            f"Of the mark {verdict.absent:,} {verdict.unit} have no counterpart, {verdict.unread:,} could not be read."
        )
    if not said and not verdict.not_understood:
        said.append("Nothing: there is no weight of a kind that this version cannot read.")
    text = "".join(f"<p>{_t(sentence)}</p>\n" for sentence in said)
    return _block("What could not be read", text + _bullets(verdict.not_understood))


def _hold_on(verdict: Verdict, answer: Answer) -> str:
    rows = [
        ("in words", _t(verdict.evidence.sentence)),
        (
            "commitment",
            f"<code>{_t(verdict.evidence.commitment)}</code> (SHA-256 of the record; what counts is when it was published)",
        ),
        ("timestamp", _timestamp(verdict.evidence.existed_before)),
        *([("parent", _t(f"the record was made of {answer.parent.sentence}"))] if answer.parent is not None else []),
        *_files(answer),
    ]
    return _block("What a third party can hold on to", _list(rows))


def _timestamp(existed_before: str | None) -> str:
    if existed_before is None:
        return "none is kept here: a commitment proves no date by itself"
    return f"the record existed before {_t(existed_before)}, says an authority that was trusted"


def _files(answer: Answer) -> list[tuple[str, str]]:
    if answer.subject is None:
        return []
    rows = [
        (f"file {file.name}", f"<code>{file.sha256}</code> (SHA-256), {file.size:,} bytes")
        for file in answer.subject.files
    ]
    digest = answer.subject.digest
    return rows + ([("canonical digest", f"<code>{_t(digest)}</code>")] if digest else [])


def _records(answer: Answer) -> str:
    verdicts = answer.search.verdicts if answer.search is not None else ()
    unreadable = answer.search.unreadable if answer.search is not None else ()
    if len(verdicts) < 2 and not unreadable:
        return ""
    rows = [
        f"<tr><td>{_t(v.record)}</td><td>{_t(v.decision)}</td><td>{_number(v.log10_p)}</td><td>{v.effect:.3f}</td></tr>\n"
        for v in verdicts[:MAX_RECORDS]
    ]
    head = "<tr><th>record</th><th>decision</th><th>log10 p</th><th>effect</th></tr>\n"
    table = f'<div class="scroll" tabindex="0"><table>\n{head}{"".join(rows)}</table></div>\n'
    more = f"<p>and {len(verdicts) - MAX_RECORDS:,} more</p>\n" if len(verdicts) > MAX_RECORDS else ""
    unread = f"<h3>Not searched</h3>\n{_bullets(unreadable[:MAX_RECORDS])}" if unreadable else ""
    return _block(f"All {len(verdicts)} records", f"{table}{more}{unread}")


def _commands(commands: Sequence[str]) -> str:
    return f'<pre tabindex="0">{_t(shlex.join(commands))}</pre>\n'


def _block(title: str, content: str) -> str:
    return f"<section>\n<h2>{_t(title)}</h2>\n{content}</section>\n"


def _list(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; the values are HTML already."""
    return "<dl>\n" + "".join(f"<dt>{_t(name)}</dt><dd>{value}</dd>\n" for name, value in rows) + "</dl>\n"


def _bullets(lines: Sequence[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{_t(line)}</li>\n" for line in lines) + "</ul>\n" if lines else ""


def _more(count: int) -> str:
    return f"<p>and {count - MAX_ROWS:,} more</p>\n" if count > MAX_ROWS else ""


def _bar(share: float) -> str:
    return f'<meter min="0" max="1" value="{max(0.0, min(1.0, share)):.4f}">{share:.0%}</meter>'


def _number(value: float) -> str:
    return f"{round(max(-9999.0, value), 1) + 0.0:.1f}".replace("-", "−")


def _value(value: float | int | str | None) -> str:
    if value is None:
        return ""
    return _t(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _t(text: str) -> str:
    """Text that may come from a file, as HTML: control characters and marks of direction visible, the rest escaped."""
    return escape(visible(text)[:MAX_TEXT])
