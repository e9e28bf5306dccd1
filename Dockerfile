# One image for the API, the workers and the MLflow server; docker-compose.yml says which command each runs.
# CPU builds of torch by default; for GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple and UNLEARN_DEVICE=cuda.

FROM python:3.11.13-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/unlearn
WORKDIR /src
COPY . .
RUN /opt/unlearn/bin/pip install --extra-index-url "$TORCH_INDEX" -c constraints.txt '.[postgres,s3,otel]'

FROM python:3.11.13-slim-bookworm
RUN groupadd --gid 10001 unlearn \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/unlearn --shell /usr/sbin/nologin unlearn \
    && install -d -o unlearn -g unlearn -m 0700 /var/lib/unlearn /var/lib/backups
COPY --from=build /opt/unlearn /opt/unlearn
ENV PATH=/opt/unlearn/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    HOME=/var/lib/unlearn \
    UNLEARN_HOME=/var/lib/unlearn \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /var/lib/unlearn
EXPOSE 8000
CMD ["python", "-m", "api"]
