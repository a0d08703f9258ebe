# gencomm with its weights: docker build -t gencomm . && docker run --rm -v "$PWD:/data" gencomm roundtrip photo.png --snr 10
# For NVIDIA GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple, and docker run --gpus all.
FROM python:3.12-slim
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN pip install "$TORCH" --index-url "$TORCH_INDEX"

COPY pyproject.toml README.md LICENSE /src/
COPY docs/concepts /src/docs/concepts
COPY models /src/models
COPY gencomm_cli /src/gencomm_cli
RUN pip install "/src[plots,heif]" && rm -rf /src

RUN useradd --create-home --uid 1000 gencomm
USER 1000
WORKDIR /data
ENTRYPOINT ["gencomm"]
CMD ["--help"]
