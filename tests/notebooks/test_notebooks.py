"""The notebooks run from top to bottom in a real lab, leave it as it was, and are committed without outputs."""

from pathlib import Path

import httpx
import pytest

from mlops_lab.lab import Lab

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("notebooks")]

NAMES = [
    "01_explore_the_data_api",
    "02_load_and_split_raw_data",
    "03_verify_the_preparation",
    "04_experiments",
]


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_no_output_is_committed(runner):
    assert [path.stem for path in runner.NOTEBOOKS] == NAMES
    for path in runner.NOTEBOOKS:
        notebook = runner.nbformat.read(path, as_version=4)
        runner.nbformat.validate(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert cell.outputs == [], f"{path.name} has outputs; clear them before it is committed"
                assert cell.execution_count is None, path.name


def test_each_begins_with_the_same_cell(runner):
    first = {code(runner.nbformat.read(path, as_version=4))[0] for path in runner.NOTEBOOKS}
    assert len(first) == 1
    assert "open_lab()" in first.pop()


def test_every_notebook_runs_to_its_end_and_shows_what_it_found(runner, executed, settings):
    said = {name: "\n".join(runner.texts(notebook)) for name, notebook in executed.items()}
    lab = Lab(settings)
    batches = lab.ledger.batches("housing")
    stored = sum(batch.stored for batch in batches)
    assert f"House price: {stored:,} raw rows" in said["01_explore_the_data_api"]
    assert f"batch 1: {batches[0].received:,} rows" in said["01_explore_the_data_api"]
    assert "each in one split" in said["02_load_and_split_raw_data"]
    assert f"{batches[-1].clean:,} rows are what their raw rows give" in said["03_verify_the_preparation"]
    assert "raw rows are predicted as their clean rows are" in said["03_verify_the_preparation"]
    assert "2 runs in experiment housing-experiments" in said["04_experiments"]
    images = [
        output
        for notebook in executed.values()
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(images) >= 2


def test_experiments_are_in_an_experiment_of_their_own_and_register_nothing(executed, settings):
    lab = Lab(settings)
    client = lab.registry.client
    experiment = client.get_experiment_by_name("housing-experiments")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["lab.kind"] for run in runs} == {"experiment"}
    assert all("validation.rmse_log" in run.data.metrics for run in runs)
    assert {artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)} == {"plots"}
    assert lab.registry.use_cases() == ["housing"]
    made = lab.ledger.models_of_batch("housing", 1) + lab.ledger.models_of_batch("housing", 2)
    assert {version.version for version in lab.registry.versions("housing")} == set(made)


def test_each_version_of_the_loop_has_its_plots(settings):
    """Most tests of the loop train without them: `without_pictures` in tests/conftest.py."""
    registry = Lab(settings).registry
    for version in registry.versions("housing"):
        plots = registry.client.list_artifacts(version.run_id, "plots")
        assert [Path(plot.path).stem for plot in plots] == ["errors", "predicted", "shap_summary"]
        assert all(plot.file_size > 5_000 for plot in plots)


def test_exploring_takes_no_batch_from_the_pipeline(executed, settings):
    url = settings.data_api_url.replace("{dataset}", "realtor")
    assert httpx.get(f"{url}/data", params={"group_number": 1}, timeout=60).json()["batch_number"] == 3
    answers = settings.home / "answers" / "housing"
    assert len(list(answers.glob("answer-*.json"))) == 2


def test_a_changed_clean_row_stops_the_verification(runner, executed, settings, tmp_path):
    from sqlalchemy import text

    lab = Lab(settings)
    change = "UPDATE housing_clean SET row_hash = '{}' WHERE batch_id = 2 AND row_hash = '{}'"
    with lab.store.clean.connect() as database:
        one = database.execute(text("SELECT row_hash FROM housing_clean WHERE batch_id = 2 LIMIT 1")).scalar()
    with lab.store.clean.begin() as database:
        database.execute(text(change.format("0" * 32, one)))
    try:
        path = runner.FOLDER / "03_verify_the_preparation.ipynb"
        with pytest.raises(runner.NotebookError, match="a stored row isn't what its raw row gives"):
            runner.execute(path, tmp_path / "out.ipynb", runner.environment(settings))
    finally:
        with lab.store.clean.begin() as database:
            database.execute(text(change.format(one, "0" * 32)))


def test_an_error_of_the_first_cell_is_one_line_and_no_traceback(runner, settings, tmp_path):
    """tests/test_notebook.py checks the text for each fault, without a kernel."""
    (tmp_path / "empty").mkdir()
    whole = runner.nbformat.read(runner.NOTEBOOKS[0], as_version=4)
    first = runner.nbformat.v4.new_notebook(
        cells=[cell for cell in whole.cells if cell.cell_type == "code"][:1]
    )
    runner.nbformat.write(first, tmp_path / "first.ipynb")
    variables = runner.environment(settings) | {"LAB_HOME": str(tmp_path / "empty")}
    with pytest.raises(runner.NotebookError):
        runner.execute(tmp_path / "first.ipynb", tmp_path / "out.ipynb", variables)
    shown = "\n".join(runner.texts(runner.nbformat.read(tmp_path / "out.ipynb", as_version=4))).strip()
    assert shown.startswith("error: housing has no batch yet in sqlite:///")
    assert shown.count("\n") == 0
