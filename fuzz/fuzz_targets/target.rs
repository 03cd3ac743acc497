//! The target of `aq_hostile::TARGETS` that this program is named after.
#![no_main]

use aq_hostile::{Bench, TARGETS};
use libfuzzer_sys::fuzz_target;
use std::panic;
use std::sync::LazyLock;

/// Other libraries' sources, and the standard library's with and without the component `rust-src`, in the places of panics.
const ELSEWHERE: [&str; 3] = ["/registry/src/", "/rustc/", "/rustlib/src/"];

static BENCH: LazyLock<Bench<'static>> = LazyLock::new(|| {
    let name = env!("CARGO_BIN_NAME");
    Bench::new(TARGETS.iter().find(|t| t.name == name).expect("the manifest names targets only"))
});

/// libFuzzer's hook ends the process at every panic. Panics of the libraries that read Parquet and Arrow are caught where they are called, and
/// count only when they get out of there; ours count wherever they are.
fn spare_caught_panics() {
    let ends = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let elsewhere = info.location().is_some_and(|place| ELSEWHERE.iter().any(|part| place.file().contains(part)));
        if !elsewhere {
            ends(info);
        }
    }));
}

fuzz_target!(init: spare_caught_panics(), |bytes: &[u8]| {
    BENCH.read(bytes);
});
