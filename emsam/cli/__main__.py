"""``python -m emsam.cli`` is the ``emsam`` command."""

from emsam.cli.app import main

if __name__ == "__main__":
    main()
