# The image of Dagster's processes: web server, daemon, code location, and the runs themselves. Build it at the repository's root:
#   docker build -f docker/dagster.Dockerfile -t chronos-assets-dagster .
ARG PYTHON=python:3.11-slim-bookworm

# Packages change seldom, code often: each has a layer of its own, so that a push of new code is small.
FROM ${PYTHON} AS packages
# A graph on one host runs its workloads here, without a GPU; in AWS they run in the other image.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY pyproject.toml requirements.lock ./
RUN grep '^torch==' requirements.lock > torch.txt \
    && pip install --no-deps --index-url "${TORCH_INDEX}" --requirement torch.txt
# The package itself is an empty one here: only what it needs is wanted.
RUN mkdir chronos_assets \
    && touch README.md chronos_assets/__init__.py \
    && pip install --constraint requirements.lock ".[aws,baselines,dashboard,lora,postgres]" \
    && pip uninstall --yes chronos-assets \
    && pip check

FROM ${PYTHON} AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY chronos_assets chronos_assets
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON}
# LightGBM's runtime; its version is the base image's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --user-group --create-home dagster \
    && install --directory --owner dagster --group dagster \
       /opt/dagster/postgres /opt/dagster/aws /opt/dagster/logs /srv/store /home/dagster/.cache
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/dagster/postgres \
    CHRONOS_STORE=/srv/store
COPY docker/dagster-postgres.yaml /opt/dagster/postgres/dagster.yaml
COPY docker/dagster-aws.yaml /opt/dagster/aws/dagster.yaml
COPY docker/workspace.yaml /opt/dagster/workspace.yaml
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl
WORKDIR /opt/dagster
USER 10001:10001
EXPOSE 3000 4000
# The web server's; the daemon and the code location are given theirs where they are started.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/server_info', timeout=5)"]
CMD ["dagster-webserver", "--host", "0.0.0.0", "--port", "3000", "--workspace", "/opt/dagster/workspace.yaml"]
