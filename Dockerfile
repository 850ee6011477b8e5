# The lab's Python images. Each is a stage, which `target:` in docker-compose.yml names; Docker builds only the stages
# that a target needs. The images without Python have their own Dockerfile: minio/Dockerfile, secrets/Dockerfile.

# Installs packages. Each image gets only its own lists of pyproject.toml, at the versions and hashes of the lock.
FROM python:3.13-slim-trixie AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never \
    UV_CACHE_DIR=/var/cache/uv
WORKDIR /build
COPY requirements.txt pyproject.toml ./
COPY --chmod=0555 stack/images/packages /usr/local/bin/packages
RUN sed -n '/^uv==/,/# via/p' requirements.txt >uv.txt && pip install --require-hashes -r uv.txt

# The base of every image. The published Python has no byte code, and a read-only root could not keep it.
FROM python:3.13-slim-trixie AS base
RUN python -m compileall -q -x 'idlelib|site-packages|/tests?/' /usr/local/lib/python3.13
COPY --chmod=0555 stack/images/lab_check.py /usr/local/bin/lab-check
# By default, MLflow's client fetches artifacts from the bucket itself, which not every service may reach.
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/lab PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=false \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
WORKDIR /opt/lab

# Training also needs the thread library of LightGBM.
FROM base AS training
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

# Airflow with the steps of the loop: api-server, scheduler, dag-processor, worker and the set-up.
FROM packages AS airflow-packages
RUN --mount=type=cache,target=/var/cache/uv packages airflow steps dask
FROM training AS airflow
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --no-create-home airflow \
 && install -d -o 50000 -g 0 -m 0770 /opt/airflow/logs
COPY --from=airflow-packages /opt/venv /opt/venv
COPY stack/airflow stack
COPY dags /opt/airflow/dags
COPY use_cases use_cases
COPY mlops_lab mlops_lab
ENV PYTHONPATH=/opt/lab:/opt/lab/stack AIRFLOW_HOME=/opt/airflow AIRFLOW__CORE__DAGS_FOLDER=/opt/airflow/dags \
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=/opt/airflow/logs AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False AIRFLOW__METRICS__LEGACY_NAMES_ON=False \
    LAB_USE_CASES=/opt/lab/use_cases LAB_HOME=/tmp/lab LAB_INCOMING=/opt/airflow/logs/incoming \
    MPLCONFIGDIR=/tmp/matplotlib GIT_PYTHON_REFRESH=quiet
# Airflow is configured by variables. If this file were missing, Airflow would write its default configuration to it.
RUN touch /opt/airflow/airflow.cfg && python -m compileall -q .
USER 50000:0
WORKDIR /opt/airflow
EXPOSE 8080

# MLflow's tracking server and registry, and the one-shot that creates the buckets.
FROM packages AS mlflow-packages
RUN --mount=type=cache,target=/var/cache/uv packages mlflow
FROM base AS mlflow
COPY --from=mlflow-packages /opt/venv /opt/venv
COPY --chmod=0555 mlflow/start /usr/local/bin/lab-mlflow
COPY --chmod=0555 mlflow/logins.py /usr/local/bin/lab-mlflow-logins.py
COPY stack/buckets buckets
ENV GIT_PYTHON_REFRESH=quiet
USER 10001:10001
EXPOSE 5000
CMD ["lab-mlflow"]

# The inference service. It has ONNX Runtime and no training library.
FROM packages AS inference-packages
RUN --mount=type=cache,target=/var/cache/uv packages inference
FROM base AS inference
# A new volume gets the owner of the folder that it is mounted over.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/lab
COPY --from=inference-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY inference inference
RUN python -m compileall -q .
ENV LAB_HOME=/var/lib/lab
USER 10001:10001
EXPOSE 8085
CMD ["python", "-m", "inference", "--host", "0.0.0.0", "--port", "8085"]

# The Data API.
FROM packages AS data-api-packages
RUN --mount=type=cache,target=/var/cache/uv packages datos
FROM base AS data-api
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/lab /data
COPY --from=data-api-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY datos datos
RUN python -m compileall -q .
ENV LAB_DATOS_FOLDER=/data LAB_DATOS_STATE=/var/lib/lab/positions.json
USER 10001:10001
EXPOSE 8081
CMD ["python", "-m", "datos", "--host", "0.0.0.0", "--port", "8081"]

# The web UI.
FROM packages AS streamlit-packages
RUN --mount=type=cache,target=/var/cache/uv packages streamlit
FROM base AS streamlit
COPY --from=streamlit-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY streamlit streamlit
COPY docs/runbooks.md docs/runbooks.md
RUN python -m compileall -q .
USER 10001:10001
EXPOSE 8086
CMD ["streamlit", "run", "streamlit/app.py", "--server.port", "8086", "--server.address", "0.0.0.0"]

# The exporter: queue, databases, ledger and probes, as Prometheus metrics.
FROM packages AS exporter-packages
RUN --mount=type=cache,target=/var/cache/uv packages exporter
FROM base AS exporter
COPY --from=exporter-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY observability/__init__.py observability/
COPY observability/exporter observability/exporter
RUN python -m compileall -q .
USER 10001:10001
EXPOSE 9108
CMD ["python", "-m", "observability.exporter", "--host", "0.0.0.0"]

# The Gradio page.
FROM packages AS gradio-packages
RUN --mount=type=cache,target=/var/cache/uv packages gradio
FROM base AS gradio
COPY --from=gradio-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY gradio_app gradio_app
RUN python -m compileall -q .
ENV GRADIO_TEMP_DIR=/tmp/gradio
USER 10001:10001
EXPOSE 8087
CMD ["python", "-m", "gradio_app", "--host", "0.0.0.0", "--port", "8087"]

# JupyterLab with the lab's notebooks and its library.
FROM packages AS notebooks-packages
RUN --mount=type=cache,target=/var/cache/uv packages steps notebooks
# JupyterLab would fetch its news from a server on the internet.
RUN mkdir -p /opt/venv/etc/jupyter/labconfig \
 && echo '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' \
      >/opt/venv/etc/jupyter/labconfig/page_config.json
FROM training AS notebooks
RUN install -d -o 10001 -g 10001 /var/lib/lab /var/lib/lab/notebooks
COPY --from=notebooks-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY notebooks notebooks
RUN python -m compileall -q .
ENV LAB_HOME=/var/lib/lab OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
USER 10001:10001
WORKDIR /var/lib/lab
EXPOSE 8088
CMD ["sh", "/opt/lab/notebooks/start"]

# Locust's page, which sends load to the prediction API of this stack.
FROM packages AS locust-packages
RUN --mount=type=cache,target=/var/cache/uv packages locust
FROM base AS locust
COPY --from=locust-packages /opt/venv /opt/venv
COPY mlops_lab mlops_lab
COPY locust locust
RUN python -m compileall -q .
USER 10001:10001
WORKDIR /tmp
EXPOSE 8089
CMD ["locust", "-f", "/opt/lab/locust/locustfile.py", "--web-host", "0.0.0.0", "--web-port", "8089", \
     "--users", "20", "--spawn-rate", "5"]
