# syntax=docker/dockerfile:1
#
#   docker build -t flexpatch-service:cpu .                  on processors
#   docker build -t flexpatch-service:gpu --target gpu .     on NVIDIA's GPUs, with TensorRT
#   docker run --rm -p 127.0.0.1:8000:8000 -e FLEXPATCH_PUBLISHED_HOST=127.0.0.1 flexpatch-service:cpu serve --demo
#
# Others than the container can reach the service, so that it does not start without FLEXPATCH_TOKENS, unless it is told
# that its port is this machine's alone.
#
# The last stage is the default one: cpu. Both have the same user, folders and health check. ONNX Runtime for Linux tells its
# makers of sessions and models unless ORT_DISABLE_TELEMETRY is set.

ARG PYTHON_IMAGE=python:3.12.12-slim-trixie
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04


# ------------------------------------------------------------------------- the project as a wheel, models included
FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /source
COPY requirements-dev.lock ./
# The build's own tools, hatchling and what it needs, are locked by version and hash, too.
RUN --mount=type=cache,target=/var/cache/pip \
    awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} keep' requirements-dev.lock > build.lock \
    && pip install --require-hashes --requirement build.lock
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY app app
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .


# ------------------------------------------------------------------------------------------- packages for processors
FROM ${PYTHON_IMAGE} AS cpu-packages
ENV PIP_CACHE_DIR=/var/cache/pip
COPY requirements.lock /
RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/flexpatch \
    && pip --python /opt/flexpatch/bin/python install --require-hashes --requirement /requirements.lock
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/flexpatch/bin/python install --no-cache-dir --no-deps /wheel/*.whl


# -------------------------------------------------------------------------------------------------- packages for GPUs
FROM ${CUDA_IMAGE} AS gpu-packages
ENV PIP_CACHE_DIR=/var/cache/pip
RUN apt-get update \
    && apt-get install --yes --no-install-recommends "python3.12=3.12.3-*" "python3-pip=24.*" \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /
RUN --mount=type=cache,target=/var/cache/pip \
    python3.12 -m venv --without-pip /opt/flexpatch \
    && python3.12 -m pip --python /opt/flexpatch/bin/python install --require-hashes --requirement /requirements.lock
# What is installed already stays as it is locked; TensorRT and what talks to CUDA are added.
RUN --mount=type=cache,target=/var/cache/pip --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    wheel="$(echo /wheel/*.whl)" && python3.12 -m pip --python /opt/flexpatch/bin/python install "${wheel}[gpu]"


# --------------------------------------------------------------------------------------------------- target gpu
FROM ${CUDA_IMAGE} AS gpu
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="FlexPatch Service (GPU)" \
      org.opencontainers.image.description="Real-time analytics of high-resolution live video: FlexPatch tracking and patch scheduling as a service." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends "python3.12=3.12.3-*" \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 flexpatch \
    && useradd --no-log-init --uid 10001 --gid 10001 --home-dir /var/lib/flexpatch --shell /usr/sbin/nologin flexpatch \
    && install --directory --owner=10001 --group=10001 /var/lib/flexpatch /var/lib/flexpatch/models /var/lib/flexpatch/state
COPY --from=gpu-packages /opt/flexpatch /opt/flexpatch
ENV PATH=/opt/flexpatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video \
    FLEXPATCH_HOST=0.0.0.0 \
    FLEXPATCH_LOG_FORMAT=json \
    FLEXPATCH_MODELS_DIR=/var/lib/flexpatch/models \
    FLEXPATCH_STATE_FILE=/var/lib/flexpatch/state/sessions.db
WORKDIR /var/lib/flexpatch
VOLUME ["/var/lib/flexpatch/models", "/var/lib/flexpatch/state"]
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"FLEXPATCH_PORT\") or 8000}/readyz', timeout=4)"]
ENTRYPOINT ["flexpatch"]
CMD ["serve"]


# --------------------------------------------------------------------------------------------------- target cpu
FROM ${PYTHON_IMAGE} AS cpu
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="FlexPatch Service" \
      org.opencontainers.image.description="Real-time analytics of high-resolution live video: FlexPatch tracking and patch scheduling as a service." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 flexpatch \
    && useradd --no-log-init --uid 10001 --gid 10001 --home-dir /var/lib/flexpatch --shell /usr/sbin/nologin flexpatch \
    && install --directory --owner=10001 --group=10001 /var/lib/flexpatch /var/lib/flexpatch/models /var/lib/flexpatch/state
COPY --from=cpu-packages /opt/flexpatch /opt/flexpatch
ENV PATH=/opt/flexpatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    FLEXPATCH_HOST=0.0.0.0 \
    FLEXPATCH_LOG_FORMAT=json \
    FLEXPATCH_MODELS_DIR=/var/lib/flexpatch/models \
    FLEXPATCH_STATE_FILE=/var/lib/flexpatch/state/sessions.db
WORKDIR /var/lib/flexpatch
VOLUME ["/var/lib/flexpatch/models", "/var/lib/flexpatch/state"]
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"FLEXPATCH_PORT\") or 8000}/readyz', timeout=4)"]
ENTRYPOINT ["flexpatch"]
CMD ["serve"]
