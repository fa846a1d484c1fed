"""Regenerates the message classes of `node/proto/` from the .proto files beside them.

The generated files are checked in, so that a user needs no compiler; a test regenerates them and
compares. `make proto` runs this module.

The compiler's output registers every message in protobuf's process-wide descriptor pool. Two
libraries that both bring etcd's messages then refuse to live in one process: a script that imports
another etcd client next to ours would crash at the second import. So two lines are rewritten after
generation: our messages go into a pool of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("node", "proto")
SHARED_POOL = (
    "from google.protobuf import descriptor_pool as _descriptor_pool",
    "_descriptor_pool.Default()",
)
PRIVATE_POOL = ("from node.proto.pool import POOL as _pool", "_pool")


class GenerationFailed(Exception):
    """The compiler refused a .proto file, or its output has a shape that we do not know."""


def sources() -> list[Path]:
    """The .proto files, relative to the repository, in the order in which they are compiled."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / PROTO).glob("*.proto"))


def generate(target: Path) -> list[Path]:
    """Compile every source into `target`/node/proto; return the files made, relative to `target`.

    Raises:
        GenerationFailed: the compiler's message, or the marker that was not found.
    """
    target.joinpath(PROTO).mkdir(parents=True, exist_ok=True)
    options = [f"--proto_path={ROOT}", f"--python_out={target}", f"--pyi_out={target}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *options, *map(str, sources())]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise GenerationFailed(result.stderr)
    modules = [source.with_name(f"{source.stem}_pb2.py") for source in sources()]
    for module in modules:
        path = target / module
        path.write_text(with_private_pool(path.read_text()))
    return [*modules, *(module.with_suffix(".pyi") for module in modules)]


def with_private_pool(code: str) -> str:
    """The generated module's text with its messages registered in `node.proto.pool`."""
    for shared, private in zip(SHARED_POOL, PRIVATE_POOL, strict=True):
        if code.count(shared) != 1:
            raise GenerationFailed(f"expected exactly one {shared!r} in the compiler's output")
        code = code.replace(shared, private)
    return code


if __name__ == "__main__":
    for generated in generate(ROOT):
        print(generated)
