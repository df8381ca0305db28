"""`make audit`, `make licences`, `make sbom`: what is deployed, by its lock file, and nothing else."""
