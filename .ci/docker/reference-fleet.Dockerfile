# Everything the reference fleet of tests/integration runs, in one image; built by `.ci/parts reference-fleet`.
FROM mcpwatch-base:bookworm
COPY requirements-servers.lock sparfenyuk.lock /tmp/
RUN python3 -m venv /opt/servers && /opt/servers/bin/pip install --quiet --no-cache-dir --require-hashes -r /tmp/requirements-servers.lock \
 && python3 -m venv /opt/sparfenyuk && /opt/sparfenyuk/bin/pip install --quiet --no-cache-dir --require-hashes -r /tmp/sparfenyuk.lock \
 && ln -s /opt/sparfenyuk/bin/mcp-proxy /usr/local/bin/bridge && mkdir -p /data && echo hello >/data/hello.txt
COPY node_modules /npm/node_modules
COPY mcp-proxy /usr/local/bin/mcp-proxy
COPY postgres_like.py /opt/postgres_like.py
ENV PATH=/opt/servers/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
