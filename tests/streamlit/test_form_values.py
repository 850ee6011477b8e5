"""The values of the Predict page's form, without a browser: what a person empties, and what a browser loses."""

import pytest
from streamlit.testing.v1 import AppTest

from mlops_lab.features import Number
from mlops_lab.settings import REPOSITORY


def page() -> None:
    import ui_form

    from tests.support import contracts

    contract = contracts.housing()
    ui_form.row(contract)
    ui_form.form(contract, {})


@pytest.fixture
def form(monkeypatch) -> AppTest:
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    started = AppTest.from_function(page, default_timeout=60).run()
    assert not started.exception
    started.number_input(key="housing.bed").set_value(9).run()
    return started


def widgets(form: AppTest) -> list:
    return [*form.number_input, *form.selectbox, *form.date_input]


def test_a_field_that_a_person_empties_stays_empty(form):
    form.number_input(key="housing.bed").set_value(None).run()
    assert form.number_input(key="housing.bed").value is None
    assert form.number_input(key="housing.bath").value is not None


@pytest.mark.parametrize("kept", [0, 3])
def test_fields_that_become_empty_at_once_have_their_values_again(form, kept):
    before = [widget.value for widget in widgets(form)]
    for widget in widgets(form)[kept:]:
        widget.set_value(None)
    form.run()
    assert not form.exception
    assert form.number_input(key="housing.bed").value == 9
    assert [widget.value for widget in widgets(form)] == before


def test_a_value_typed_when_the_other_fields_are_lost_is_kept(form):
    form.number_input(key="housing.bed").set_value(5)
    before = [widget.value for widget in widgets(form)]
    for widget in widgets(form)[1:]:
        widget.set_value(None)
    form.run()
    assert [widget.value for widget in widgets(form)] == [5, *before[1:]]


def test_values_lost_by_the_first_run_are_those_of_the_address_and_the_example(form):
    before = [widget.value for widget in widgets(form)]
    del form.session_state["housing draft"]
    for widget in widgets(form):
        widget.set_value(None)
    form.run()
    assert [widget.value for widget in widgets(form)] == before


def test_after_an_interrupted_run_every_value_is_sent_to_the_browser_again(form):
    form.run()
    assert not any(widget.proto.set_value for widget in widgets(form))
    form.session_state["housing complete"] = False
    form.run()
    assert all(widget.proto.set_value for widget in widgets(form))


def test_a_step_is_whole_where_the_example_is(form):
    steps = {widget.key: widget.step for widget in form.number_input}
    assert [steps[f"housing.{name}"] for name in ("bed", "bath", "acre_lot", "house_size")] == [
        1,
        1,
        0.01,
        100,
    ]


@pytest.mark.parametrize(
    ("example", "step"), [(3.0, 1), (25.0, 1), (2.5, 0.1), (0.12, 0.01), (0.0, 0.1), (1500.0, 100)]
)
def test_a_number_steps_by_a_tenth_of_its_power_of_ten_or_by_one(form, example, step):
    import ui_form

    assert ui_form._step(Number("bed", example=example))["step"] == pytest.approx(step)
