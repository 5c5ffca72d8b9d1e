FROM python:3.12-slim-bookworm AS build
RUN python -m venv /venv
WORKDIR /app
# Only what decides the dependencies, so that a change of the code leaves this layer as it is.
COPY requirements/serve.txt ./
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement serve.txt \
    # It is not needed once everything is installed.
    && rm -rf /venv/lib/python3*/site-packages/pip /venv/lib/python3*/site-packages/pip-*.dist-info /venv/bin/pip*

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="digits" \
      org.opencontainers.image.description="Reads handwritten digits over HTTP" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /venv /venv
WORKDIR /app
COPY entrypoint.py gunicorn.conf.py ./
COPY service service
COPY scoring scoring
COPY models models
COPY examples examples
# HOST: from outside, a container's own loopback address cannot be reached.
# PYTHONDONTWRITEBYTECODE: the root file system may be read-only, and belongs to another user in any case.
ENV PATH=/venv/bin:$PATH HOST=0.0.0.0 PORT=8000 DIGITS_LOG=json PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# What Python compiles once here, each start would compile again: the image's Python comes without its own library compiled.
RUN python -m compileall -q service scoring \
    && PYTHONDONTWRITEBYTECODE= python -c "import entrypoint, gunicorn.app.wsgiapp, scoring.__main__, service.app, service.worker"
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s CMD ["python", "/app/entrypoint.py", "health"]
ENTRYPOINT ["python", "/app/entrypoint.py"]
CMD ["serve"]
