"""What is read of the registry: by its file as by MLflow's client, and without importing MLflow."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlops_lab.errors import ServiceError
from mlops_lab.model.mlflow_store import store_file
from mlops_lab.model.registered import FileReader, Registered, ServerReader
from mlops_lab.model.trial import Trial

IMPORTED = """
import json, sys
from mlops_lab.cli import app
for command in (["status"], ["predict", "flats", "--json"], ["why", "flats"]):
    try:
        app(command)
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
print("RESULT" + json.dumps(sorted(set(sys.modules) & {"mlflow", "pandas", "pyarrow", "httpx", "sklearn", "alembic"})))
"""


def test_the_file_says_what_mlflow_says(trained):
    client, name = trained.registry.client, "flats"
    by_file = FileReader(store_file(trained.settings.tracking_uri))
    by_mlflow = ServerReader(client)
    client.create_registered_model("not the lab's")
    source = f"{client.get_run(by_file.versions(name)[0].run_id).info.artifact_uri}/model"
    for number in (3, 4):
        client.create_model_version(name, source=source, description="it's «tried»" if number == 4 else None)
    client.delete_model_version(name, "3")
    client.set_registered_model_alias(name, "challenger", "4")
    client.set_registered_model_alias(name, "another", "4")
    trained.registry.set_trial(name, Trial(4, 1, 0.1))

    assert by_file.versions(name) == by_mlflow.versions(name)
    assert [version.version for version in by_file.versions(name)] == [4, 2, 1]
    assert by_file.version(name, 4).aliases == ("another", "challenger")
    for number in (1, 2, 3, 4, 5):
        assert by_file.version(name, number) == by_mlflow.version(name, number)
    assert by_file.use_cases() == by_mlflow.use_cases() == [name]
    for model in (name, "not the lab's", "nobody's"):
        assert by_file.registered(model) == by_mlflow.registered(model)
    assert by_file.registered(name).facts.trial == str(Trial(4, 1, 0.1))


def test_without_a_file_there_are_no_models_and_none_is_made(tmp_path):
    reader = FileReader(tmp_path / "mlflow.db")
    assert (reader.use_cases(), reader.registered("flats"), reader.versions("flats")) == (
        [],
        Registered(),
        [],
    )
    assert reader.version("flats", 1) is None
    assert list(tmp_path.iterdir()) == []


def test_a_change_a_fault_and_another_file_in_its_place_are_seen(trained, templates, tmp_path):
    file = store_file(trained.settings.tracking_uri)
    reader = FileReader(file)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: len(reader.versions("flats")), range(20))) == {2}
    trained.registry.client.delete_model_version("flats", "1")
    assert [version.version for version in reader.versions("flats")] == [2]
    whole = file.read_bytes()
    file.write_bytes(b"no database" * 500)
    with pytest.raises(ServiceError, match="can't be read"):
        reader.versions("flats")
    file.write_bytes(whole)
    assert [version.version for version in reader.versions("flats")] == [2]
    # As a restored lab has it.
    templates.copy_empty(tmp_path / "restored")
    (tmp_path / "restored" / "mlflow.db").replace(file)
    assert reader.versions("flats") == []


@pytest.mark.process
def test_commands_that_read_import_neither_mlflow_nor_pandas(trained):
    settings = trained.settings
    environment = os.environ | {"LAB_HOME": str(settings.home), "LAB_USE_CASES": str(settings.use_cases)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "champion: version" in done.stdout
    assert json.loads(done.stdout.partition("RESULT")[2]) == []
