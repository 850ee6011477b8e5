"""Features as a use case declares them and as stored contracts hold them."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from mlops_lab.features import FIRST_CODE, MISSING_CODE, RARE_CODE, Category, Feature, FieldError, Integer
from mlops_lab.formatting import show
from use_cases import covertype, diabetes

OLD = {
    "open": True,
    "groups": {"250": "diabetes"},
    "at_least": 3,
    "at_most": 7,
    "codes": ["diabetes", "injury"],
}
NEW = {
    "allow_unknown": True,
    "mapping": {"250": "diabetes"},
    "min_count": 3,
    "max_categories": 7,
    "vocabulary": ["diabetes", "injury"],
}


def test_a_use_case_may_still_use_the_category_arguments_of_earlier_releases():
    assert Category("diagnosis", "Diagnosis", **OLD) == Category("diagnosis", "Diagnosis", **NEW)


def test_a_stored_contract_of_an_earlier_release_still_loads():
    stored = {"type": "category", "name": "diagnosis", "title": "Diagnosis", "allowed": [], "width": None}
    found = TypeAdapter(Feature).validate_json(json.dumps(stored | OLD))
    assert found == Category("diagnosis", "Diagnosis", **NEW)
    # It is written with the new names, and read again.
    written = found.model_dump(mode="json")
    assert NEW.items() <= written.items()
    assert not OLD.keys() & written.keys()
    assert TypeAdapter(Feature).validate_json(found.model_dump_json()) == found


def test_an_argument_under_both_names_or_an_unknown_one_is_refused():
    with pytest.raises(ValidationError, match="open"):
        Category("diagnosis", open=True, allow_unknown=False)
    with pytest.raises(ValidationError, match="at_leats"):
        Category("diagnosis", at_leats=3)


def test_a_whole_number_fits_into_64_bits():
    number = Integer("number")
    assert number.read(-(2**63)) == -(2**63)
    for large in (2**63, 1e30, "10000000000000000000"):
        with pytest.raises(FieldError, match="at most 64 bits"):
            number.read(large)


def test_a_category_is_encoded_by_its_vocabulary_after_its_mapping():
    diagnosis = Category("diagnosis", **NEW)
    assert diagnosis.encode(None) == MISSING_CODE
    assert diagnosis.encode("250.13") == diagnosis.encode("250") == FIRST_CODE
    assert diagnosis.encode("999") == RARE_CODE
    assert (diagnosis.knows("250.1"), diagnosis.knows("999"), diagnosis.knows(None)) == (True, False, True)


def test_labels_are_for_people_and_callers_send_the_value():
    cover = Category("cover", allowed=["0", "1"], vocabulary=["1", "0"], labels={"1": "lodgepole pine"})
    assert show(cover, "1") == "lodgepole pine"
    assert show(cover, "0") == "0"
    schema = cover.json_schema()
    assert schema["enum"] == ["1", "0", None]
    assert schema["description"] == "1: lodgepole pine."
    assert cover.read("1") == "1"
    with pytest.raises(FieldError, match="must be one of"):
        cover.read("lodgepole pine")
    assert TypeAdapter(Feature).validate_json(cover.model_dump_json()) == cover


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ({"2": "aspen"}, "labels has '2', which isn't an allowed value"),
        ({"0": "pine", "1": "pine"}, "labels says 'pine' for two values"),
        ({"0": "1"}, "labels says '1' for two values"),
    ],
)
def test_labels_that_name_no_value_or_two_are_refused(labels, fault):
    with pytest.raises(ValidationError, match=fault):
        Category("cover", allowed=["0", "1"], labels=labels)


def test_the_use_cases_name_their_numbers():
    """What UCI writes beside its data; every value that cleaning knows has a name."""
    cover = covertype.USE_CASE.target
    assert cover.labels.keys() == set(cover.allowed)
    fields = {f.name: f for f in diabetes.USE_CASE.features}
    assert fields["admission_source_id"].label("7") == "Emergency room"
    assert all(value in fields["discharge_disposition_id"].labels for value in diabetes.NO_RETURN)
