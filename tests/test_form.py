"""The part that both pages share: the order of the fields, the bars of an explanation, the messages."""

import re

import pytest

from mlops_lab.client import ExplainReply, RequestRefusedError, ServiceAwayError
from mlops_lab.errors import ContractError
from mlops_lab.form import (
    GRADIO_OPTIONS,
    STREAMLIT_OPTIONS,
    certainty,
    change,
    change_of,
    contributions,
    explained,
    fault,
    folded,
    from_to,
    in_words,
    placeholder,
    rounded,
    row_refused,
    takes_any,
    typical_error,
)
from mlops_lab.formatting import literal
from tests.support import contracts


def test_a_short_form_keeps_the_contracts_order():
    contract = contracts.housing()
    leading, rest = folded(contract, {"city": 9.0})
    assert [f.name for f in leading] == [f.name for f in contract.features]
    assert rest == ()


def test_a_long_form_begins_with_the_most_important_fields_and_loses_none():
    contract = contracts.diabetes()
    leading, rest = folded(contract, {"drug_7": -3.0, "diag_1": 2.0, "count_5": 0.5})
    assert [f.name for f in leading[:3]] == ["drug_7", "diag_1", "count_5"]
    assert len(leading) == 12
    assert {f.name for f in (*leading, *rest)} == {f.name for f in contract.features}


def test_any_value_may_be_typed_where_not_all_are_offered():
    fields = {f.name: f for f in (*contracts.housing().features, *contracts.diabetes().features)}
    assert takes_any(fields["city"], STREAMLIT_OPTIONS)
    assert not takes_any(fields["status"], STREAMLIT_OPTIONS)
    assert not takes_any(fields["bed"], STREAMLIT_OPTIONS)
    # 2,500 codes: Gradio offers all of them, Streamlit doesn't.
    assert takes_any(fields["diag_1"], STREAMLIT_OPTIONS)
    assert not takes_any(fields["diag_1"], GRADIO_OPTIONS)


def test_the_bars_of_an_explanation_add_up_and_the_strongest_is_first():
    contract = contracts.diabetes()
    values = {f.name: (-1) ** i * (i + 1) / 1000 for i, f in enumerate(contract.features)}
    explanation = ExplainReply(prediction="true", base_value=0.1, values=values, class_="true")
    bars = contributions(contract, contract.example, explanation)
    assert len(bars) == 11
    assert bars[0].label == "Drug 35 = No"
    assert bars[-1].label == "37 other fields"
    assert sum(bar.value for bar in bars) == pytest.approx(explanation.explained - 0.1)
    assert explained(contract, explanation) == "Probability of yes"


def test_each_error_becomes_one_message():
    assert (
        fault(RequestRefusedError("no such use case", 404)) == "**The request was refused:** no such use case"
    )
    assert fault(ServiceAwayError("it takes too long")).startswith(
        "**A service is unavailable:** It takes too long."
    )
    problems = [{"row": 0, "field": "bed", "rule": "maximum", "message": "must be at most 60"}]
    assert row_refused(contracts.housing(), ContractError(problems)).endswith("- Bedrooms must be at most 60")


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"mdape": 0.177, "mae": 56_769.8}, "17.7% (56,770 USD)"),
        ({"mae": 56_769.8}, "56,770 USD"),
        # True values about 0: a share of them says nothing.
        ({"mdape": 3.2, "mae": 0.5}, "0.5 USD"),
        ({"mdape": float("nan"), "mae": 0.5}, "0.5 USD"),
        ({"rmse_log": 0.3}, ""),
        ({}, ""),
    ],
)
def test_the_typical_error_has_a_unit(test, said):
    assert typical_error(contracts.housing().model_copy(update={"metrics": {"test": test}})) == said


def test_a_classifier_has_no_typical_error():
    assert typical_error(contracts.covertype()) == ""


def test_any_text_is_shown_as_it_is():
    markup = literal(
        "![x](http://elsewhere/p.png) :red[**a**] <b>$x$</b> _y_ :smile: :material/home: | `code`"
    )
    bare = re.sub(r"\\.", "", markup)
    assert not re.search(r"[*<>$|`\[\]]|://|:[a-z]|\b_", bare), bare
    # What isn't markup stays, so that it can be searched and copied.
    for text in (
        "zip_code: 0.53",
        "MLflow at http://127.0.0.1:8084 doesn't answer",
        "-0.5",
        "12:30:45",
        "0.24",
    ):
        assert literal(text) == text
    assert literal("1. a\nb") == "1\\. a b"
    assert literal("# a") == "\\# a"
    assert in_words("until noon: `lab approve x_y 3 --reason TEXT` or `![x](y)`") == (
        r"until noon: `lab approve x_y 3 --reason TEXT` or \`!\[x\](y)\`"
    )


def test_a_number_is_as_exact_as_it_is_certain():
    contract = contracts.housing()
    assert rounded(contract, 288_781.3, (231_000.0, 345_540.0)) == "289,000"
    assert rounded(contract, 0.123456, (0.09, 0.15)) == "0.123"
    # Without an interval the error on test rows counts, and without both the value has four digits.
    known = contract.model_copy(update={"metrics": {"test": {"mae": 770.0, "mdape": 0.1}}})
    assert rounded(known, 288_781.3) == "288,780"
    assert rounded(contract.model_copy(update={"metrics": {}}), 288_781.3) == "288,781"
    assert rounded(contracts.diabetes(), True) == "Yes"
    limits = "In 90% of such predictions the true value is between 231,000 and 346,000 USD."
    assert certainty(known, (231_000.0, 345_540.0), 0.9) == f"{limits} Typical error: 10.0% (770 USD)."
    assert certainty(contracts.diabetes(), None, None) == ""


def test_an_explanation_says_its_changes_in_the_targets_unit_or_in_percentage_points():
    contract, values = contracts.housing(), {"bed": 52_257.0, "city": -0.004}
    found = ExplainReply(prediction=1.0, base_value=420_000, values=values, interval=(370_000, 470_000))
    assert change_of(contract, found) == "Change of the price (USD)"
    assert [change(contract, found, value) for value in (52_257.0, -713.2, -0.004)] == [
        "+52,300",
        "−700",
        "0",
    ]
    assert (
        from_to(contract, found) == "from 420,000 USD for typical rows on average to 472,000 USD for this row"
    )
    contract = contracts.covertype()
    found = ExplainReply(prediction="Aspen", base_value=0.4, values={"slope": 0.052}, class_="Aspen")
    assert change_of(contract, found) == "Change of the probability of Aspen (percentage points)"
    assert change(contract, found, 0.052) == "+5.2"


def test_an_empty_field_says_what_it_means_and_its_range():
    fields = {f.name: f for f in contracts.housing().features}
    assert placeholder(fields["bed"]) == "unknown (from 0 to 60)"
    assert placeholder(fields["house_size"]) == "From 100 to 100,000"
    assert placeholder(fields["city"]) == "unknown"
