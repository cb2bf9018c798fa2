"""cc_proto_library under the path it has in protobuf's own repository (>= 29)."""

def cc_proto_library(**kwargs):
    native.cc_proto_library(**kwargs)
