"""`digits serve`"""

import sys

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[GUNICORN OPTION]...")
def serve(arguments: tuple[str, ...]) -> None:
    """Serve digit recognition over HTTP.

    Runs gunicorn with the service's configuration on http://localhost:8000 until SIGTERM or Ctrl-C; SIGHUP loads new
    model versions. PORT, HOST and the other settings are environment variables, listed by `digits settings`. Options
    are gunicorn's own and override that configuration.

    Exit codes: 0 after a normal stop, 1 if the service cannot start, 2 for usage errors.

    \b
    Examples:
      digits serve
      PORT=9000 DIGITS_WORKERS=2 digits serve
      digits serve --certfile server.crt --keyfile server.key
    """
    from gunicorn.app.wsgiapp import run

    # Imported first, so that modules of the same name in the working directory are never taken for the service's.
    from service import gunicorn_config

    sys.argv[1:] = [f"--config=python:{gunicorn_config.__name__}", *arguments]  # from where gunicorn takes them
    run(prog="digits serve")
