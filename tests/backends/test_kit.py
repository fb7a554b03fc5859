"""The conformance kit itself: it finds what is broken, skips what is not claimed, and is tabled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from empathy_agent.backends.base import Backend
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.backends.requests import Completion, Event, Request, Sink
from empathy_agent.chain import Usage
from empathy_agent.testing import BackendConformance
from empathy_agent.testing.table import Case, Table

kit = BackendConformance()


class Flawed(FakeBackend):
    """A fake with requests or events changed on their way."""

    def __init__(
        self,
        request: Callable[[Request], Request] = lambda request: request,
        event: Callable[[Event], Event] = lambda event: event,
        *,
        can_rollback: bool = True,
        claims: Mapping[str, bool] = MappingProxyType({}),
    ) -> None:
        super().__init__(context_size=1024, delay_s=0.0002, can_rollback=can_rollback)
        self._capabilities = replace(self._capabilities, **claims)  # type: ignore[arg-type]
        self._change, self._report = request, event

    def submit(self, request: Request, sink: Sink) -> None:
        report = self._report
        super().submit(
            self._change(request),
            lambda item: sink(item if isinstance(item, BaseException) else report(item)),
        )


class Forgetless(FakeBackend):
    """A fake that keeps what people wrote."""

    def forget(self) -> None:
        return


def _recounted(event: Event) -> Event:
    return replace(event, usage=Usage(prompt_tokens=1)) if isinstance(event, Completion) else event


FLAWS: dict[str, tuple[Callable[[], Backend], Callable[[Backend], None]]] = {
    "deaf to cancels": (
        lambda: Flawed(lambda request: replace(request, cancel=None)),
        kit.test_a_cancel_event_ends_a_request_at_once,
    ),
    "deaf to closing a stream": (
        lambda: Flawed(lambda request: replace(request, cancel=None)),
        kit.test_closing_a_stream_ends_it_within_one_token,
    ),
    "deaf to deadlines": (
        lambda: Flawed(lambda request: replace(request, deadline=None)),
        kit.test_a_deadline_ends_a_running_request_at_once,
    ),
    "deaf to deadlines of who waits": (
        lambda: Flawed(lambda request: replace(request, deadline=None)),
        kit.test_a_waiting_request_hears_of_its_deadline,
    ),
    "deaf to stop strings": (
        lambda: Flawed(lambda request: replace(request, stop=())),
        kit.test_a_stop_string_is_never_in_the_text,
    ),
    "too long": (
        lambda: Flawed(lambda request: replace(request, max_new_tokens=24, min_new_tokens=24)),
        kit.test_the_token_budget_is_kept,
    ),
    "keeping nothing for a chain": (
        lambda: Flawed(lambda request: replace(request, session=None)),
        kit.test_a_chain_keeps_its_prefix_while_others_compete,
    ),
    "computing a common beginning each time": (
        lambda: Flawed(can_rollback=False, claims={"rollback": True}),
        kit.test_a_beginning_that_many_share_is_computed_once,
    ),
    "forgetting nothing": (
        lambda: Forgetless(context_size=1024),
        kit.test_forgetting_drops_what_is_cached,
    ),
    "miscounting": (lambda: Flawed(event=_recounted), kit.test_usage_adds_up),
    "mixing": (
        lambda: Flawed(event=_recounted),
        kit.test_many_at_once_all_end_and_do_not_mix,
    ),
    "losing text on the way": (
        lambda: Flawed(event=lambda event: replace(event, text=event.text[1:])),
        kit.test_deltas_add_up_to_the_completion,
    ),
}


@pytest.mark.parametrize(("open_flawed", "check"), FLAWS.values(), ids=FLAWS.keys())
def test_the_kit_finds_what_is_broken(
    open_flawed: Callable[[], Backend], check: Callable[[Backend], None]
) -> None:
    with open_flawed() as backend, pytest.raises((AssertionError, pytest.fail.Exception)):
        check(backend)


@pytest.mark.parametrize(
    ("claim", "check"),
    [
        ("batch_invariant", kit.test_the_same_seed_gives_the_same_text_beside_other_requests),
        ("continues", kit.test_a_stop_string_is_never_in_the_text),
        ("control_tags", kit.test_text_cannot_forge_a_control_token),
        ("ids", kit.test_a_continuation_equals_a_run_in_one_piece),
        ("prefix_cache", kit.test_a_follow_up_computes_only_what_is_new),
        ("rollback", kit.test_a_beginning_that_many_share_is_computed_once),
    ],
)
def test_what_is_not_claimed_is_skipped(claim: str, check: Callable[[Backend], None]) -> None:
    with Flawed(claims={claim: False}) as backend, pytest.raises(pytest.skip.Exception):
        check(backend)


@pytest.fixture
def table() -> Table:
    table = Table()
    for case, outcome in (
        (("Fake", "a fake", "test_it_runs"), "pass"),
        (("Real", "a real one", "test_it_runs"), "no | model"),
        (("Fake", "a fake", "test_it_ends"), "pass"),
        (("Fake", "a fake", "test_it_ends"), "pass"),
        (("Real", "a real one", "test_it_ends"), "pass"),
        (("Real", "a real one", "test_it_ends"), "FAIL"),
        (("Real", "a real one", "test_it_ends"), "too slow"),
        (("Real", "a real one", "test_it_lasts"), "too slow"),
    ):
        table.add(Case(*case), outcome)
    return table


def test_the_table_folds_cases_and_names_reasons_below(table: Table) -> None:
    assert table.markdown() == (
        "| check | a fake | a real one |\n"
        "| --- | :---: | :---: |\n"
        "| it runs | pass | a |\n"
        "| it ends | pass | **FAIL**, b |\n"
        "| it lasts | – | b |\n"
        "| **passed / skipped / failed** | 3 / 0 / 0 | 1 / 3 / 1 |\n"
        "\n"
        "- a: no | model\n"
        "- b: too slow\n"
    )


def test_a_table_without_skips_has_no_notes() -> None:
    table = Table()
    table.add(Case("Fake", "fake", "test_it_runs"), "pass")
    assert table.markdown().endswith("| 1 / 0 / 0 |\n")


AUTHORS_TESTS = """
import pytest
from empathy_agent.backends.fake import FakeBackend
from empathy_agent.testing import BackendConformance

class TestMine(BackendConformance):
    @pytest.fixture
    def backend(self):
        with FakeBackend(control_tags=False) as backend:
            yield backend

    def test_it_is_a_context_manager(self, backend):
        raise ValueError("broken")

    @pytest.mark.xfail(reason="not yet")
    def test_it_says_what_it_is(self, backend):
        raise ValueError("broken")

class TestYours(BackendConformance):
    label = "yours"

    @pytest.fixture
    def backend(self):
        raise OSError("does not open")

def test_of_something_else():
    pass
"""


@pytest.mark.parametrize("target", ["", "=table.md"])
def test_an_author_gets_the_table_too(pytester: pytest.Pytester, target: str) -> None:
    pytester.makepyfile(AUTHORS_TESTS)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    result = pytester.runpytest(
        "-p",
        "empathy_agent.testing.table",
        f"--conformance-table{target}",
        "-k",
        "says_what_it_is or context_manager or forge_a or something_else",
    )
    result.assert_outcomes(passed=1, failed=1, skipped=1, xfailed=1, errors=3)
    text = result.stdout.str()
    if target:
        assert "the table is in table.md" in text
        text = (pytester.path / "table.md").read_text(encoding="utf-8")
    for line in (
        "| check | TestMine | yours |",
        "| text cannot forge a control token | a | **FAIL** |",
        "| it says what it is | b | **FAIL** |",
        "| it is a context manager | **FAIL** | **FAIL** |",
        "| **passed / skipped / failed** | 0 / 2 / 1 | 0 / 0 / 3 |",
        "- b: known to fail: not yet",
        "- a: tags are no control tokens here: `escape` guards them",
    ):
        assert f"{line}\n" in text
