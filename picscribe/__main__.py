"""`python -m picscribe`: the command line."""

from picscribe.cli.main import main

if __name__ == "__main__":
    main()
