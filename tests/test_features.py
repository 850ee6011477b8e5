"""Features as a use case declares them and as stored contracts hold them."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from mlops_lab.features import FIRST_CODE, MISSING_CODE, RARE_CODE, Category, Feature, FieldError, Integer

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
