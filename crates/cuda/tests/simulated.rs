//! The whole path to a device without one: `driver/driver.cpp` is compiled to a driver library whose kernels run here, and the program that checks
//! real devices is run over it. Memory of that driver faults at its end, and what a driver may do late it does late.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A folder with the driver; compiled once for all tests.
fn driver() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("driver");
        std::fs::create_dir_all(&folder).expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/driver/driver.cpp");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        // No contraction of products and sums: that is what the device's compiler is told, too.
        let flags = [
            "-std=c++17",
            "-O2",
            "-ffp-contract=off",
            "-DAQ_HOST",
            "-shared",
            "-fPIC",
            "-fvisibility=hidden",
            "-Wall",
            "-Wno-unknown-pragmas",
        ];
        let compiled = Command::new(&compiler).args(flags).arg(source).arg("-o").arg(folder.join("libcuda.so")).output();
        let compiled = compiled.expect("a C++ compiler; CXX names it where it is not c++");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        folder
    })
}

fn check(words: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aq-cuda-check"));
    command.args(words).env("LD_LIBRARY_PATH", driver()).envs(settings.iter().copied());
    command.output().expect("the program starts")
}

fn text(output: &Output) -> String {
    format!("{:?}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_kernel_has_the_bits_of_the_specification() {
    let ended = check(&["parity"], &[]);
    assert!(ended.status.success() && text(&ended).contains("all bits equal"), "{}", text(&ended));
}

#[test]
fn what_is_no_device_is_a_reason() {
    for (settings, reason) in [
        (&[("AQ_FAKE_DEVICES", "0")][..], "this machine has 0 NVIDIA device(s)"),
        (&[("AQ_FAKE_CAPABILITY", "61")], "has compute capability 6.1, 7.0 is needed"),
        (&[("AQ_FAKE_FAIL", "load:1:222")], "older than R525"),
        (&[("AQ_FAKE_FAIL", "init:1+:999")], "CUDA_ERROR_UNKNOWN"),
        (&[("LD_LIBRARY_PATH", "/nonexistent")], "no NVIDIA driver was found"),
    ] {
        let ended = check(&["parity"], settings);
        assert!(ended.status.code() == Some(2) && text(&ended).contains(reason), "{settings:?}: {}", text(&ended));
    }
    let ended = check(&["parity", "--device", "3"], &[]);
    assert!(text(&ended).contains("this machine has 1 NVIDIA device(s), numbered from 0"), "{}", text(&ended));
}

#[test]
fn a_library_that_is_no_driver_is_a_reason_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, library) = (folder.path().join("empty.c"), folder.path().join("libcuda.so"));
    std::fs::write(&source, "int aq_nothing;\n").expect("written");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(library).arg(source).status().expect("a C compiler");
    assert!(compiled.success());
    let ended = check(&["parity"], &[("LD_LIBRARY_PATH", folder.path().to_str().expect("a plain path"))]);
    assert!(ended.status.code() == Some(2) && text(&ended).contains("a function that the driver lacks"), "{}", text(&ended));
}

#[test]
fn failures_have_their_status() {
    for (plan, status) in [
        ("alloc:2:2", "allocate failed with CUDA_ERROR_OUT_OF_MEMORY"),
        ("copy:1:700", "copy failed with CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("launch:1:701", "launch failed with CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"),
    ] {
        let ended = check(&["parity"], &[("AQ_FAKE_FAIL", plan)]);
        assert!(ended.status.code() == Some(1) && text(&ended).contains(status), "{plan}: {}", text(&ended));
    }
}
