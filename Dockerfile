# Airflow with the steps of the loop: api-server, scheduler, dag-processor, worker and the set-up.
FROM python:3.13-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never \
    UV_CACHE_DIR=/var/cache/uv
WORKDIR /build
COPY requirements.txt pyproject.toml ./
# This image's own lists, at the lock's versions; what the lock has no hash of is refused.
RUN --mount=type=cache,target=/var/cache/uv \
    sed -n '/^uv==/,/# via/p' requirements.txt >uv.txt \
 && pip install --require-hashes -r uv.txt \
 && uv venv --no-project /opt/venv \
 && uv pip install --python /opt/venv/bin/python --require-hashes -r pyproject.toml --extra airflow --extra steps -c requirements.txt \
 && find /opt/venv -type d -name tests -prune -exec rm -rf {} + \
 && rm -rf /opt/venv/lib/python3.13/site-packages/onnx/backend/test

FROM python:3.13-slim-trixie
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 50000 --gid 0 --home-dir /opt/airflow --no-create-home airflow \
 && install -d -o 50000 -g 0 -m 0770 /opt/airflow/logs
COPY --from=build /opt/venv /opt/venv
COPY stack/airflow /opt/lab/stack
COPY dags /opt/airflow/dags
COPY use_cases /opt/lab/use_cases
COPY mlops_lab /opt/lab/mlops_lab
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/lab:/opt/lab/stack PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow AIRFLOW__CORE__DAGS_FOLDER=/opt/airflow/dags LAB_USE_CASES=/opt/lab/use_cases \
    HOME=/tmp LAB_HOME=/tmp/lab MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba GIT_PYTHON_REFRESH=quiet
# Airflow would write its whole default configuration into a file that is missing; here it comes from variables.
RUN touch /opt/airflow/airflow.cfg && python -m compileall -q /opt/lab
ENV PYTHONDONTWRITEBYTECODE=1
USER 50000:0
WORKDIR /opt/airflow
EXPOSE 8080
