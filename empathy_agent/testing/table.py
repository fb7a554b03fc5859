"""A pytest plugin that shows which backend keeps which promise: checks down, backends across.

    pytest -p empathy_agent.testing.table --conformance-table[=FILE.md]

It tags the tests of `BackendConformance` subclasses as they are collected, takes their outcomes from
the reports, which also cross processes, and at the end of the run prints a Markdown table or writes
it to the file. The cases of a parametrised check share a cell; a skip is a letter with its reason
below the table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import astuple, dataclass, field
from pathlib import Path
from string import ascii_lowercase

import pytest

_TAG = "conformance"
_PRINT = "-"


_HEAD = """# Which backend keeps which promise

The conformance kit, check by check; made by `pytest --conformance-table={target}` over the tests of the kit.
Letters are reasons why a check does not apply.

"""


@dataclass(frozen=True)
class Case:
    """What a test of the kit belongs to."""

    backend: str
    """The class that gives the backend."""
    label: str
    """What the table calls it."""
    check: str
    """The function that checks."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for the table."""
    parser.addoption(
        "--conformance-table",
        nargs="?",
        const=_PRINT,
        metavar="FILE.md",
        help="show which backend passes which check of the conformance kit, as Markdown",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect outcomes only where the table is asked for."""
    if target := config.getoption("--conformance-table"):
        config.pluginmanager.register(_Plugin(target), "conformance-table")


@dataclass
class Table:
    """Outcomes by check and backend; both keep the order in which they were first seen."""

    outcomes: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """For each check and backend, how often there was what: `"pass"`, `"FAIL"` or a reason."""
    labels: dict[str, str] = field(default_factory=dict)
    """What each backend is called."""

    def add(self, case: Case, outcome: str) -> None:
        """Count one outcome of a test."""
        self.labels[case.backend] = case.label
        self.outcomes.setdefault(case.check, defaultdict(Counter))[case.backend][outcome] += 1

    def markdown(self) -> str:
        """Return the table, its totals and the reasons of its skips."""
        reasons = self._reasons()
        lines = [_row("check", *self.labels.values()), _row("---", *(":---:" for _ in self.labels))]
        for check, row in self.outcomes.items():
            cells = (_cell(row.get(backend, Counter()), reasons) for backend in self.labels)
            lines.append(_row(_words(check), *cells))
        lines.append(_row("**passed / skipped / failed**", *map(self._total, self.labels)))
        notes = [f"- {key}: {reason}" for reason, key in reasons.items()]
        return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"

    def _reasons(self) -> dict[str, str]:
        """Return a letter for each reason of a skip, in the order of the rows."""
        seen = dict.fromkeys(
            outcome
            for row in self.outcomes.values()
            for counts in row.values()
            for outcome in counts
            if outcome not in ("pass", "FAIL")
        )
        return {reason: _letters(index) for index, reason in enumerate(seen)}

    def _total(self, backend: str) -> str:
        counts = sum((row[backend] for row in self.outcomes.values() if backend in row), Counter())
        skipped = counts.total() - counts["pass"] - counts["FAIL"]
        return f"{counts['pass']} / {skipped} / {counts['FAIL']}"


class _Plugin:
    """Fills a table from the reports of a run."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._table = Table()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Tag the tests of the kit."""
        if (case := _case(item)) is not None:
            item.user_properties.append((_TAG, "\n".join(astuple(case))))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what ended a test, and what broke while it was set up or torn down."""
        if report.passed and report.when != "call":
            return
        for name, value in report.user_properties:
            if name == _TAG:
                self._table.add(Case(*str(value).split("\n")), _outcome(report))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, or write it and say where."""
        if not self._table.outcomes:
            return
        text = self._table.markdown()
        terminalreporter.section("conformance")
        if self._target != _PRINT:
            Path(self._target).write_text(
                _HEAD.format(target=self._target) + text, encoding="utf-8"
            )
            text = f"the table is in {self._target}"
        terminalreporter.write_line(text)


def _case(item: pytest.Item) -> Case | None:
    """Return what a test belongs to, if it is one of the kit."""
    from empathy_agent.testing import BackendConformance

    if not isinstance(item, pytest.Function) or item.cls is None:
        return None
    kind = item.cls
    if not issubclass(kind, BackendConformance):
        return None
    return Case(
        f"{kind.__module__}.{kind.__qualname__}", kind.label or kind.__name__, item.originalname
    )


def _outcome(report: pytest.TestReport) -> str:
    """Return `"pass"`, `"FAIL"`, or why a test did not run or was expected to fail."""
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return f"known to fail: {report.wasxfail}"
        # For a skip pytest gives the place and the reason.
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        return reason.removeprefix("Skipped: ")
    return "pass" if report.passed else "FAIL"


def _cell(counts: Counter[str], reasons: dict[str, str]) -> str:
    """Return the outcomes of a check on one backend, what went wrong first."""
    if not counts:
        return "–"
    shown = ["**FAIL**"] if counts["FAIL"] else ["pass"] if counts["pass"] else []
    return ", ".join([*shown, *(key for reason, key in reasons.items() if counts[reason])])


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _words(check: str) -> str:
    return check.removeprefix("test_").replace("_", " ")


def _letters(index: int) -> str:
    """Return `a` to `z`, then `aa`, `ab` and so on."""
    rest, last = divmod(index, len(ascii_lowercase))
    return (_letters(rest - 1) if rest else "") + ascii_lowercase[last]
