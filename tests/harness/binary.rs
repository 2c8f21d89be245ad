//! The relay's binary: the one that `cargo xtask test` names, else the one that cargo builds now.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names the binary to use.
const VARIABLE: &str = "POSTRIDER_RELAY_BINARY";

/// Where it is; built once a process, if nobody named one.
pub(crate) fn relay() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os(VARIABLE).map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--package",
            "postrider-relay",
            "--bin",
            "postrider",
            "--features",
            "failpoints",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "building the relay failed ({})", output.status);
    executable(&String::from_utf8_lossy(&output.stdout)).expect("cargo names the binary that it built")
}

/// The executable in cargo's messages (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next()
}
