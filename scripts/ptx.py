#!/usr/bin/env python3
"""Kernels to PTX: compiles crates/cuda/kernels/*.cu and has the result assembled for several cards.

    scripts/ptx.sh            writes crates/cuda/ptx/kernels.ptx
    scripts/ptx.sh --check    compiles, compares with the committed file, and writes nothing

Run through ptx.sh, which fetches the compiler. NVRTC 12.0 writes PTX 8.0, which drivers from R525 (the end of 2022) on load; its lowest
useful architecture for this project is compute_70. The flags forbid what would change a bit: no contraction to fused multiply-add,
IEEE division and square root, subnormals kept.
"""
import ctypes
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "crates" / "cuda" / "kernels"
PTX = ROOT / "crates" / "cuda" / "ptx" / "kernels.ptx"
OPTIONS = ["--gpu-architecture=compute_70", "--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false"]
CARDS = ["sm_75", "sm_80", "sm_90"]


def sources():
    """Name and text of each source, in the order of their names."""
    return [(path.name, path.read_text()) for path in sorted(KERNELS.iterdir())]


def digest(files):
    """What the committed PTX says it was made from; crates/cuda/tests/ptx.rs computes the same."""
    hashed = hashlib.sha256()
    for name, text in files:
        hashed.update(f"{name}\n{text}\n".encode())
    return hashed.hexdigest()


def library(pattern):
    import nvidia  # a namespace that the packages of pip share

    for root in nvidia.__path__:
        found = sorted(pathlib.Path(root).rglob(pattern))
        if found:
            return str(found[0])
    sys.exit(f"{pattern} was not found; run scripts/ptx.sh")


def compiled(files):
    nvrtc = ctypes.CDLL(library("libnvrtc.so.12"))
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(status):
        if status:
            raise RuntimeError(nvrtc.nvrtcGetErrorString(status).decode())

    headers = [(name, text) for name, text in files if name.endswith(".cuh")]
    main = "".join(f'#include "{name}"\n' for name, _ in files if name.endswith(".cu"))
    included = headers + [(name, text) for name, text in files if name.endswith(".cu")]
    program = ctypes.c_void_p()
    strings = lambda items: (ctypes.c_char_p * len(items))(*[item.encode() for item in items])  # noqa: E731
    texts, names = strings([text for _, text in included]), strings([name for name, _ in included])
    call(nvrtc.nvrtcCreateProgram(ctypes.byref(program), main.encode(), b"kernels.cu", len(included), texts, names))
    status = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), strings(OPTIONS))
    size = ctypes.c_size_t()
    call(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    call(nvrtc.nvrtcGetProgramLog(program, log))
    if log.value.strip():
        print(log.value.decode())
    call(status)
    call(nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)))
    ptx = ctypes.create_string_buffer(size.value)
    call(nvrtc.nvrtcGetPTX(program, ptx))
    major, minor = ctypes.c_int(), ctypes.c_int()
    call(nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    # The compiler's own heading and blank lines say nothing that a driver needs.
    body = [line.rstrip() for line in ptx.value.decode().splitlines()]
    body = [line for line in body if line and not line.startswith("//")]
    return f"// NVRTC {major.value}.{minor.value} {' '.join(OPTIONS)}\n// sources sha256 {digest(files)}\n" + "\n".join(body) + "\n"


def assembled(ptx):
    """Assembles for each card; returns what spills."""
    ptxas, spilling = library("ptxas"), []
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "kernels.ptx"
        source.write_text(ptx)
        for card in CARDS:
            command = [ptxas, "-v", f"-arch={card}", "-o", f"{folder}/out.cubin", str(source)]
            ended = subprocess.run(command, capture_output=True, text=True)
            if ended.returncode:
                sys.exit(f"ptxas for {card}:\n{ended.stdout}{ended.stderr}")
            kernels = re.findall(
                r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
                ended.stderr, re.S)
            for name, stack, stores, loads, registers in kernels:
                print(f"{card} {name}: {registers} registers, {stack} bytes of stack, {stores} + {loads} bytes spilled")
                if int(stack) + int(stores) + int(loads):
                    spilling.append(f"{name} for {card}")
    return spilling


def main():
    ptx = compiled(sources())
    spilling = assembled(ptx)
    if spilling:
        sys.exit(f"spilled: {', '.join(spilling)}")
    if "--check" in sys.argv:
        if not PTX.exists() or PTX.read_text() != ptx:
            sys.exit("crates/cuda/ptx/kernels.ptx is not what the sources give: run scripts/ptx.sh")
        print("the committed PTX is what the sources give")
    else:
        PTX.write_text(ptx)
        print(f"wrote {PTX.relative_to(ROOT)}: {len(ptx)} bytes")


main()
