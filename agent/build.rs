//! What the linker is told about the agent as it is shipped.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    // Tables for unwinding are a twelfth of a program that aborts on a panic and is sent to every host.
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    let aborts = is("CARGO_CFG_PANIC", "abort") && is("CARGO_CFG_TARGET_OS", "linux");
    if let (true, Ok(here)) = (aborts, var("CARGO_MANIFEST_DIR")) {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{here}/no-unwind.ld");
    }
}
