"""Prints a `config.pbtxt` as JSON, parsed with Triton's own schema. Run in its own environment with the path."""

import json
import sys
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

configuration = text_format.Parse(Path(sys.argv[1]).read_text(encoding="utf-8"), ModelConfig())
print(json.dumps(json_format.MessageToDict(configuration, preserving_proto_field_name=True)))
