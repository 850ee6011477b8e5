"""The embedded services: what Airflow's tasks are forked from, and Streamlit with the options of its own file."""

import subprocess
import sys

import pytest

from mlops_lab.local import embedded
from mlops_lab.local.processes import Supervisor, free_ports, without
from mlops_lab.local.warm import MODULES
from mlops_lab.settings import Settings


@pytest.mark.process
def test_every_module_of_the_list_is_imported():
    # A process of its own, because other tests import the same modules in this one.
    code = (
        "import sys; from mlops_lab.local.warm import import_modules; import_modules(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert set(MODULES) <= set(done.stdout.split()), done.stderr


@pytest.mark.process
def test_streamlit_listens_on_the_given_port_and_has_the_other_options_from_its_file(tmp_path):
    settings = Settings(home=tmp_path, streamlit_port=free_ports(1)[0])
    page = embedded.streamlit(settings)
    with Supervisor(tmp_path / "logs", without("LAB_", "STREAMLIT_")) as supervisor:
        supervisor.start(page)
        supervisor.wait(page, 120)
        printed = supervisor.log(page.name).read_text()
    assert page.url in printed
    assert "usage statistics" not in printed


def test_a_file_in_the_labs_folder_is_served_by_its_data_api(tmp_path):
    process = embedded.data_api_service(Settings(home=tmp_path))
    assert process.env["LAB_DATOS_FOLDER"] == str(tmp_path / "data")
    assert (tmp_path / "data").is_dir()
    other = embedded.data_api_service(Settings(home=tmp_path, datos_folder=tmp_path / "other"))
    assert other.env["LAB_DATOS_FOLDER"] == str(tmp_path / "other")
