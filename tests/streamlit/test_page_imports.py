"""The imports of the two pages. Import-linter can't check `streamlit/`, because it is a folder and no package."""

import ast

import pytest

from mlops_lab.settings import REPOSITORY

ALLOWED = {
    "mlops_lab.client",
    "mlops_lab.contract",
    "mlops_lab.draft.choose",
    "mlops_lab.draft.columns",
    "mlops_lab.draft.table",
    "mlops_lab.draft.text",
    "mlops_lab.errors",
    "mlops_lab.features",
    "mlops_lab.form",
    "mlops_lab.formatting",
    "mlops_lab.history",
    "mlops_lab.live_client",
    "mlops_lab.local.airflow_client",
    "mlops_lab.metrics",
    "mlops_lab.model.card",
    "mlops_lab.model.runs",
    "mlops_lab.model.tags",
    "mlops_lab.scoring.over_http",
    "mlops_lab.scoring.source",
    "mlops_lab.progress",
    "mlops_lab.serve",
    "mlops_lab.settings",
    "mlops_lab.traffic",
}
ELSEWHERE = {"mlops_lab", "mlflow", "sqlalchemy", "use_cases", "inference", "datos"}


def imported(source: str) -> set[str]:
    """The modules that a file imports, in functions too."""
    nodes = list(ast.walk(ast.parse(source)))
    modules = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return modules | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}


@pytest.mark.parametrize("folder", ["streamlit", "gradio_app"])
def test_a_page_imports_no_use_case_and_no_mlflow(folder):
    files = list((REPOSITORY / folder).rglob("*.py"))
    assert files
    for path in files:
        found = {name for name in imported(path.read_text()) if name.split(".")[0] in ELSEWHERE}
        assert found <= ALLOWED, path
