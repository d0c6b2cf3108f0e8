# mcpwatch in a container. With the client of Kubernetes: --build-arg LOCK=requirements-kubernetes.lock
# Where no image can be pulled: docker build --build-arg BASE=<a Debian image with python3, python3-venv, tini>
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
ARG LOCK=requirements.lock
COPY requirements.lock requirements-kubernetes.lock /src/
RUN python3 -m venv /opt/mcpwatch \
 && /opt/mcpwatch/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r /src/${LOCK} \
 && /opt/mcpwatch/bin/pip uninstall --quiet --yes pip
COPY mcpwatch /src/mcpwatch
RUN cp -r /src/mcpwatch "$(/opt/mcpwatch/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mcpwatch" \
 && printf '#!/bin/sh\nexec /opt/mcpwatch/bin/python -m mcpwatch "$@"\n' >/opt/mcpwatch/bin/mcpwatch \
 && chmod 755 /opt/mcpwatch/bin/mcpwatch \
 && /opt/mcpwatch/bin/python -m compileall -q /opt/mcpwatch

FROM ${BASE}
RUN command -v tini >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends tini && rm -rf /var/lib/apt/lists/*)
RUN groupadd --gid 10001 mcpwatch && useradd --uid 10001 --gid 10001 --home-dir /var/lib/mcpwatch --create-home --shell /usr/sbin/nologin mcpwatch
COPY --from=build /opt/mcpwatch /opt/mcpwatch
ENV PATH=/opt/mcpwatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MCPWATCH_STATE_DIR=/var/lib/mcpwatch
USER 10001:10001
VOLUME /var/lib/mcpwatch
EXPOSE 9090 9464 9465
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["mcpwatch", "health", "--daemon"]
ENTRYPOINT ["tini", "--", "mcpwatch"]
CMD ["up", "--plain", "--config", "/etc/mcpwatch/mcpwatch.yaml"]
