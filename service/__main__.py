"""Run the command line: `python -m service`."""

from service.cli.main import cli

if __name__ == "__main__":
    cli()
