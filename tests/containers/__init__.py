"""The real Dockerfile, docker-compose.yml and units, run by a container engine of their own: `make containers`.

The images that the files name are made of Debian packages, since no registry is needed then: Python of trixie; Valkey,
nginx and Prometheus of forky. Grafana has no package and is left out. The machine with systemd is a trixie too.
"""
