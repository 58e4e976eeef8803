"""The grpc_python generator of grpcio-tools as a protoc plugin, which it is not shipped as.

Reads a CodeGeneratorRequest on stdin, writes a CodeGeneratorResponse on stdout: what buf asks of a plugin.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Make the `*_pb2_grpc.py` of every file asked for that has a service; others would get an empty one."""
    asked = set(request.file_to_generate)
    served = [each.name for each in request.proto_file if each.service and each.name in asked]
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    if not served:
        return response
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.binpb")
        image.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        out = Path(folder, "out")
        out.mkdir()
        code = protoc.main(["protoc", f"--descriptor_set_in={image}", f"--grpc_python_out={out}", *served])
        if code != 0:
            response.error = f"grpc_python ended with {code}"
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


if __name__ == "__main__":
    received = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(received).SerializeToString())
