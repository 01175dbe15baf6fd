# One image for all processes; docker-compose.yml says which one a container runs.

FROM python:3.11-slim AS packages
RUN python -m venv /venv
COPY requirements/base.txt /tmp/base.txt
# The three named ones exist as source archives only (see requirements/base.in).
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary :all: --no-binary django-grip,gripcontrol,pubcontrol \
    -r /tmp/base.txt

FROM python:3.11-slim
# A number, so that an orchestrator can see that it is not root.
RUN groupadd --gid 10001 guardiano \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin guardiano
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 DJANGO_SETTINGS_MODULE=project.settings
# A volume mounted here takes over its owner: workers write to it.
RUN mkdir /spool && chown 10001:10001 /spool
WORKDIR /app
# What .dockerignore lets through: no tests, no .env.
COPY . .
# Everything that would be written at a start is written here, since containers run with a
# read-only file system: bytecode and translations (any start compiles them).
# The settings want variables; nothing is connected to, and none of them is kept.
RUN python -m compileall -q . \
    && SECRET_KEY=build \
       FIELD_ENCRYPTION_KEYS="$(python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())')" \
       DATABASE_URL=postgres://build@localhost/build \
       REDIS_URL=redis://localhost/0 \
       python manage.py check
USER 10001:10001
EXPOSE 8000
