//! Prometheus's `promtool`, which checks alert rules and plays their tests: the installed one, else Debian's, unpacked and
//! not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::services::client::{cached, last_lines, on_path, run};
use crate::services::error::{Error, Result};
use crate::services::home::Home;
use crate::services::progress::Progress;

/// Debian's package that carries it.
const PACKAGE: &str = "prometheus";

/// Finds it, or fetches it once.
///
/// # Errors
/// If it is not installed and there is no Debian to have it from.
pub fn promtool(progress: &Progress) -> Result<PathBuf> {
    if let Some(installed) = on_path("promtool") {
        return Ok(installed);
    }
    let home = Home::open()?;
    let task = progress.task("promtool");
    let folder = cached(&home, "promtool-debian", |folder| {
        for program in ["apt-get", "dpkg-deb"] {
            if on_path(program).is_none() {
                return Err(Error::Missing {
                    what: "the program promtool".to_owned(),
                    install: format!("installing {PACKAGE}"),
                });
            }
        }
        task.say(&format!("apt-get download {PACKAGE}"));
        if download(folder).is_err() {
            // The package lists are absent or out of date: only now is the slower update worth its time.
            let _lock = home.lock("apt-get")?;
            task.say("apt-get update");
            run(Command::new("apt-get").args(["update", "--quiet"]))?;
            download(folder)?;
        }
        unpack(folder)
    })?;
    task.done("is here");
    Ok(folder.join("usr/bin/promtool"))
}

fn download(folder: &Path) -> Result<()> {
    run(Command::new("apt-get").args(["download", "--quiet", PACKAGE]).current_dir(folder)).map(drop)
}

/// Unpacks the package where it lies; nothing of it is installed or started.
fn unpack(folder: &Path) -> Result<()> {
    let found = std::fs::read_dir(folder).ok().and_then(|entries| {
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"))
    });
    let package =
        found.ok_or_else(|| Error::Unsupported(format!("apt-get download left no package in {}", folder.display())))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder))?;
    // Only one small tool of it is used; the rest would take a hundred megabytes.
    for path in [package, folder.join("usr/bin/prometheus")] {
        std::fs::remove_file(&path)
            .map_err(|source| Error::Io { action: format!("remove {}", path.display()), source })?;
    }
    Ok(())
}

/// Runs `promtool` with these arguments in the folder of rules; what it said, or its last words as an error.
///
/// # Errors
/// If the rules or their tests are wrong, with what `promtool` says of them.
pub fn check(promtool: &Path, folder: &Path, arguments: &[&str]) -> std::result::Result<String, String> {
    let output =
        Command::new(promtool).args(arguments).current_dir(folder).output().map_err(|error| error.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(last_lines(&said)) }
}
