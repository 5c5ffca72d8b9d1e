"""Serves the library over HTTP: a Flask application behind gunicorn."""
