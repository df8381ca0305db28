"""Run the command line: `python -m service`, or `currency-ticker` where the package is installed."""

from service.cli.main import cli

if __name__ == "__main__":
    cli()
