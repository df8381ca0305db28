"""`make audit`, `make licences`, `make sbom`: check the deployed packages, read from the lock file."""
