# jbatch in a container, for CPUs or GPUs.
#
#   docker build -t jbatch .                                  # CPUs
#   docker build -t jbatch:cuda --build-arg EXTRAS=cuda .     # GPUs: JAX brings CUDA's libraries
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/workspace" jbatch train FILE VARIANT
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/workspace" jbatch:cuda train FILE VARIANT
#
# The host of a GPU needs the NVIDIA driver and the NVIDIA Container Toolkit, and no CUDA.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim
ARG EXTRAS=
COPY setup.cfg pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff /src/
COPY jbatch /src/jbatch
RUN pip install --no-cache-dir "/src${EXTRAS:+[${EXTRAS}]}" && rm -r /src
# The folder that you mount keeps runs, compiled programs and the key that marks runs as yours.
WORKDIR /workspace
ENV PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/workspace/.cache XDG_STATE_HOME=/workspace/.state
ENTRYPOINT ["jbatch"]
CMD ["--help"]
