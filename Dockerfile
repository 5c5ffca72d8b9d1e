# `docker build -t digits .` builds the image for CPUs, `--target cuda` the one for NVIDIA GPUs.
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_REQUIRE_HASHES=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
RUN python -m venv --without-pip /venv
WORKDIR /requirements

FROM build AS packages-cuda
COPY requirements/cuda.txt ./
RUN pip --python /venv/bin/python install --requirement cuda.txt

FROM build AS packages-cpu
# Only what determines the dependencies, so that code changes keep this layer cached.
COPY requirements/serve.txt ./
RUN pip --python /venv/bin/python install --requirement serve.txt
# Removes the third that is never used. Without -f: if an upgrade moves these files, the build fails.
RUN cd /venv/lib/python3.*/site-packages \
    # A second copy of ONNX Runtime, for C programs; and modules that need ONNX or PyTorch, which are not installed.
    && rm -r onnxruntime/capi/libonnxruntime.so.* /venv/bin/onnxruntime_test onnxruntime/backend onnxruntime/datasets \
        onnxruntime/quantization onnxruntime/tools onnxruntime/transformers \
    # Fortran bindings, and the decoder of a format that the service rejects.
    && rm -r numpy/f2py /venv/bin/f2py PIL/_avif.* pillow.libs/libavif-* \
    && find . -type d -name tests -prune -exec rm -r {} +

FROM packages-cpu AS app
WORKDIR /app
COPY cli cli
COPY digits digits
COPY service service
COPY scoring scoring
COPY models models
COPY examples examples
RUN python -m compileall -q .
# The image's Python has no compiled standard library, so every start would compile what it imports.
RUN export PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE= \
    && python -m cli serve --check-config && python -c "import concurrent.futures.thread, gunicorn.glogging, service.worker" \
    && python -m cli score examples --output - > /dev/null && python -m cli predict --json examples/7.png \
    && mkdir /compiled && cd /usr/local/lib \
    && find . -path "./python3.*/site-packages" -prune -o -name "*.pyc" -exec cp --parents -t /compiled {} +

FROM python:3.12-slim-bookworm AS runtime
# HOST: a container's loopback address cannot be reached from outside.
# PYTHONDONTWRITEBYTECODE: the root file system belongs to another user, and may be read-only.
# TMPDIR: writable even then.
# PYTHONPATH: the same commands work in every working directory.
ENV PATH=/venv/bin:$PATH HOST=0.0.0.0 PORT=8000 DIGITS_LOG=json PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/dev/shm PYTHONPATH=/app
WORKDIR /app
# By number, so that an orchestrator can check that it is not root.
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s CMD ["python", "-m", "cli", "health"]
ENTRYPOINT ["python", "-m", "cli"]
CMD ["serve"]
ARG SOURCE REVISION CREATED
LABEL org.opencontainers.image.title="digits" \
      org.opencontainers.image.description="Reads handwritten digits over HTTP, or a folder at a time" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"

FROM runtime AS cuda
ENV DIGITS_PROVIDER=cuda NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-cuda /venv /venv
COPY --from=app /compiled /usr/local/lib
COPY --from=app /app /app

FROM runtime
COPY --from=packages-cpu /venv /venv
COPY --from=app /compiled /usr/local/lib
COPY --from=app /app /app
