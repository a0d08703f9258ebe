"""``gencomm``, and ``python -m gencomm_cli`` for launchers that start modules (torchrun, accelerate launch)."""

import signal


def main() -> None:
    """Entry point of the console script. While the commands are imported nothing is begun, and Ctrl-C ends the process at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gencomm_cli import app

    app.main()


if __name__ == "__main__":
    main()
