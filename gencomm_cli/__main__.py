"""``python -m gencomm_cli``: the command, for launchers that start modules (torchrun, accelerate launch)."""

from gencomm_cli.app import main

if __name__ == "__main__":
    main()
