//! Deflates the PTX, which is text and fivefold as large; the library inflates it when a device is opened.

use flate2::{Compression, write::ZlibEncoder};
use std::io::Write as _;
use std::path::Path;

const PTX: &str = "ptx/kernels.ptx";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={PTX}");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets it");
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&std::fs::read(PTX)?)?;
    std::fs::write(Path::new(&out).join("kernels.ptx.z"), encoder.finish()?)
}
