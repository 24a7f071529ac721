//! What the linker is told about the agent as it is shipped.

use std::{env::var, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    // Tables for unwinding are a twelfth of a program that aborts on a panic and is sent to every host. That it is built
    // by the profile that says so, only the directory tells: target/TRIPLE/PROFILE/build/PACKAGE/out.
    let profile = var("OUT_DIR").ok().and_then(|out| {
        let name = Path::new(&out).ancestors().nth(3)?.file_name()?;
        Some(name == "agent")
    });
    if let (Some(true), Ok(here), Ok("linux")) =
        (profile, var("CARGO_MANIFEST_DIR"), var("CARGO_CFG_TARGET_OS").as_deref())
    {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{here}/no-unwind.ld");
    }
}
