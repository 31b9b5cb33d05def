# The processor alone: no torch, no tests. Built with: docker build -t neuroloop .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY setup.py ./
COPY neuroloop neuroloop
COPY config config
COPY stream stream
COPY processors processors
COPY models models
COPY sinks sinks
RUN python -m venv /opt/neuroloop \
    && /opt/neuroloop/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/neuroloop /opt/neuroloop
RUN useradd --system --uid 10001 --home-dir /var/lib/neuroloop --create-home neuroloop \
    && install -d -o neuroloop /var/cache/neuroloop
ENV PATH=/opt/neuroloop/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEUROLOOP_CACHE=/var/cache/neuroloop
USER neuroloop
WORKDIR /var/lib/neuroloop
COPY deploy/neuroloop.yaml deploy/lsl_api.cfg deploy/warm_up.py /etc/neuroloop/
# Compiles every kernel of this pipeline; on another kind of processor they are compiled again at the first start.
RUN python /etc/neuroloop/warm_up.py /etc/neuroloop/neuroloop.yaml
EXPOSE 9108
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9108/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["neuroloop"]
CMD ["run", "/etc/neuroloop/neuroloop.yaml", "--metrics-port", "9108", "--log", "json"]
