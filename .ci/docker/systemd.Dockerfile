# A machine whose first process is systemd, with mcpwatch installed as `make` would: for tests/e2e/test_systemd.py. Built by `.ci/parts systemd`.
FROM mcpwatch-systemd-base:bookworm
COPY --from=mcpwatch:test /opt/mcpwatch /opt/mcpwatch
COPY mcpwatch.service /etc/systemd/system/mcpwatch.service
RUN ln -s /opt/mcpwatch/bin/mcpwatch /usr/local/bin/mcpwatch
ENV container=docker
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
