"""proto_library under the path it has in protobuf's own repository (>= 29)."""

def proto_library(**kwargs):
    native.proto_library(**kwargs)
