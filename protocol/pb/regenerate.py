"""Rebuild the descriptor set and the type stubs from the .proto files.

Run `python -m protocol.pb.regenerate` after a change to a .proto file; it
needs grpcio-tools, which only the development set-up installs. What is
checked in is a descriptor set rather than generated Python: generated code is
stamped with the protoc that made it and refuses an older runtime, a
descriptor set works with every protobuf runtime this project supports.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["main"]

HERE = Path(__file__).parent
PROTOS = ("protocol", "session", "comet", "logic", "link")


def main() -> int:
    """Write goim.binpb and one NAME.pyi a .proto file; return protoc's exit code."""
    from grpc_tools import protoc

    source = HERE / "proto"
    code: int = protoc.main(
        [
            "protoc",
            f"-I{source}",
            "--include_imports",
            f"--descriptor_set_out={HERE / 'goim.binpb'}",
            f"--pyi_out={HERE}",
            *(str(source / f"{name}.proto") for name in PROTOS),
        ]
    )
    if code:
        return code
    for name in PROTOS:
        stub = HERE / f"{name}_pb2.pyi"
        text = re.sub(r"^import (\w+)_pb2 as (\w+)$", r"from protocol.pb import \1 as \2", stub.read_text(), flags=re.M)
        text = re.sub(r"_Union\[([\w.]+), _Mapping\]", r"\1", text)
        (HERE / f"{name}.pyi").write_text(text)
        stub.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
