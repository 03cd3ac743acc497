//! Shared by crates/node through `build = "../../build.rs"`: linker set-up for a Node addon, nothing else.
fn main() {
    napi_build::setup();
}
