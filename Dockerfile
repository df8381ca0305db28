# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /app
# requirements-otel.lock has OpenTelemetry too, to send traces
ARG LOCK=requirements.lock
COPY ${LOCK} requirements.lock
# Compiled here: the container's file system is read-only, so every start would compile again
RUN python -m venv --without-pip /app/.venv \
 && python -m pip --python /app/.venv install --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes -r requirements.lock

FROM python:3.13-slim
# Packages are installed in the build stage: the final image needs no pip
RUN python -m pip uninstall --quiet --yes --root-user-action ignore pip \
 && python -c "import ensurepip, shutil; shutil.rmtree(ensurepip.__path__[0])" \
 && useradd --system --uid 10001 --no-create-home ticker
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY config/*.toml config/
COPY service service
RUN .venv/bin/python -m compileall -q service
# By number, so that a container runtime can verify that it is not root
USER 10001
EXPOSE 8080
ENV PYTHONUNBUFFERED=1
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD [".venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT [".venv/bin/python", "-m", "service"]
CMD ["serve", "--config", "config/production.toml"]
