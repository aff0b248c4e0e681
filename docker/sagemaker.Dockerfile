# The image of SageMaker's jobs and endpoints: every workload, with a GPU where the instance has one. Build it at the
# repository's root:
#   docker build -f docker/sagemaker.Dockerfile -t chronos-assets-sagemaker .
# The same without CUDA, a fifth of the size, for instances without a GPU, also of linux/arm64:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -f docker/sagemaker.Dockerfile -t ...-cpu .
ARG PYTHON=python:3.11-slim-bookworm

# Packages change seldom, code often: each has a layer of its own, so that a push of new code is small.
FROM ${PYTHON} AS packages
# torch's wheels bring CUDA, the instance brings the driver. CUDA 13 knows GPUs from Turing to Blackwell; endpoints ask for hosts
# whose driver runs it (`platforms/aws/machines.py`).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu130
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
    && pip install --constraint requirements.lock ".[aws,baselines,lora]" \
    && pip uninstall --yes chronos-assets \
    && pip check

FROM ${PYTHON} AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY chronos_assets chronos_assets
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON}
# Several containers of one instance are each told a port of their own, and `serve` listens there.
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
# LightGBM's runtime; its version is the base image's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=packages /venv /venv
# The last two are what the container toolkit reads to hand the GPU in.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl
# No USER: the folders below /opt/ml that SageMaker mounts are root's.
WORKDIR /opt/ml
EXPOSE 8080
# SageMaker asks GET /ping of an endpoint, and jobs have nothing to ask.
HEALTHCHECK NONE
# SageMaker adds `train` or `serve`; a processing job gives the whole command, this one with its workload's name.
ENTRYPOINT ["python", "-m", "chronos_assets.workloads"]
