//! Runs cargo in the workspace, from whichever of its folders we were called.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::commands::Failure;

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(xtask::root());
    command
}

/// The relay's package and its binary.
pub(crate) const RELAY: (&str, &str) = ("postrider-relay", "postrider");

/// The demo's package and its binary.
pub(crate) const DEMO: (&str, &str) = ("demo", "demo");

/// Builds binaries together (each a package and a name), shows the compiler's words, and gives the paths that cargo
/// says they have.
pub(crate) fn build<const N: usize>(binaries: [(&str, &str); N], profile: &str) -> Result<[PathBuf; N], Failure> {
    let mut command = cargo();
    command.args(["build", "--profile", profile, "--message-format", "json-render-diagnostics"]);
    for (package, binary) in binaries {
        command.args(["--package", package, "--bin", binary]);
    }
    let messages = messages(&mut command)?;
    let mut paths = [const { PathBuf::new() }; N];
    for (path, (_, binary)) in paths.iter_mut().zip(binaries) {
        *path = found(&messages, binary)?;
    }
    Ok(paths)
}

/// Builds every test, and with them the relay's binary, which the relay's own tests need; gives its path.
pub(crate) fn build_tests(what: &[&str]) -> Result<PathBuf, Failure> {
    let mut command = cargo();
    command.arg("test").args(what).args(["--no-run", "--message-format", "json-render-diagnostics"]);
    found(&messages(&mut command)?, RELAY.1)
}

fn messages(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("cargo ended with {}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn found(messages: &str, binary: &str) -> Result<PathBuf, Failure> {
    executable(messages, binary).ok_or_else(|| format!("cargo built no binary named {binary}").into())
}

/// The executable of that name, its tests not meant, in cargo's messages
/// (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn executable(messages: &str, binary: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let is_binary = message["reason"] == "compiler-artifact" && message["profile"]["test"] == false;
        let ours = is_binary && message["target"]["name"] == binary;
        let path = message["executable"].as_str().filter(|_| ours)?;
        Some(PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_where_cargo_says_and_not_where_we_guess() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"profile":{"test":false},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"postrider"},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"postrider"},"profile":{"test":true},"executable":"/t/its-tests"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"postrider"},"profile":{"test":false},"executable":"/t/release/postrider"}"#,
            "\n"
        );
        assert_eq!(executable(messages, "postrider"), Some(PathBuf::from("/t/release/postrider")));
        assert_eq!(executable(messages, "demo"), None);
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(xtask::root().join("Cargo.toml").is_file());
    }
}
