"""`python -m pipeline` is `tingbo`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
