"""For plain `gunicorn` in a checkout."""

from service.gunicorn_config import *
