"""The real Dockerfile and the real docker-compose.yml, run by a container engine of their own: `make containers`.

The images that the files name are made of Debian packages, since no registry is needed then: Python of trixie; Valkey,
nginx and Prometheus of forky. Grafana has no package and is left out.
"""
