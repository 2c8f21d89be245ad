//! Runs the ordinary package clients (apt-get, npm, pip, mvn) and keeps what they fetched in the cache, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, remove_tree};
use crate::services::progress::Task;

/// How many of a failed command's last lines are shown.
const LAST_LINES: usize = 8;

/// The folder `cache/<name>`, made by `fill` if it is not there yet; only a whole one ever gets this name.
pub(crate) fn cached(home: &Home, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = home.path("cache").join(name);
    if folder.exists() {
        return Ok(folder);
    }
    let _lock = home.lock(&format!("cache-{name}"))?;
    // Another process may have filled it while we waited.
    if !folder.exists() {
        let partial = home.folder(&format!("cache/{name}.partial"))?;
        remove_tree(&partial)?;
        let partial = home.folder(&format!("cache/{name}.partial"))?;
        fill(&partial)?;
        fs::rename(&partial, &folder).context("rename", &partial)?;
    }
    Ok(folder)
}

/// The program of that name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The program of that name on `PATH`, or what would install it.
pub(crate) fn wanted(program: &str, install: &str) -> Result<PathBuf> {
    on_path(program)
        .ok_or_else(|| Error::Missing { what: format!("the program {program}"), install: install.to_owned() })
}

/// Runs a command to its end and gives its standard output; its last words make the error.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Io { action: format!("run `{shown}`"), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Error::Command { command: shown, reason: format!("{}\n{}", output.status, last_lines(&said)) })
}

/// Installs a Debian package, which only root can do.
pub(crate) fn apt_install(home: &Home, task: &Task, package: &str) -> Result<()> {
    let missing = || Error::Missing {
        what: format!("Debian's package {package}"),
        install: format!("sudo apt-get install {package}"),
    };
    if home.user().change_to.is_none() || on_path("apt-get").is_none() {
        return Err(missing());
    }
    let _lock = home.lock("apt-get")?;
    task.say(&format!("apt-get install {package}"));
    let install = || {
        run(Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", package])
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        // The package lists are absent or out of date: only now is the slower update worth its time.
        task.say("apt-get update");
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        install()?;
    }
    Ok(())
}

/// Installs one Python package, alone, into the cache (what ours want beside themselves serves features that we do
/// not use); gives the folder for `PYTHONPATH`.
pub(crate) fn pip_install(home: &Home, task: &Task, requirement: &str) -> Result<PathBuf> {
    let python = wanted("python3", "apt-get install python3 python3-pip")?;
    let tag = run(Command::new(&python).args(["-c", "import sys; print('cp%d%d' % sys.version_info[:2])"]))?;
    let name = format!("{}-{}", requirement.replace("==", "-"), tag.trim());
    cached(home, &name, |folder| {
        if run(Command::new(&python).args(["-m", "pip", "--version"])).is_err() {
            return Err(Error::Missing {
                what: "Python's pip".to_owned(),
                install: "apt-get install python3-pip".to_owned(),
            });
        }
        task.say(&format!("pip install {requirement}"));
        let quiet =
            ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--target"];
        run(Command::new(&python).args(quiet).arg(folder).arg(requirement)).map(drop)
    })
}

/// The end of a longer text, without the frames of Java's stack traces.
pub(crate) fn last_lines(text: &str) -> String {
    let says_something = |line: &&str| !line.trim().is_empty() && !line.starts_with("\tat ");
    let lines: Vec<&str> = text.lines().filter(says_something).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_shown_with_its_last_words() {
        let error =
            run(Command::new("sh").args(["-c", "echo first; echo why it failed >&2; exit 3"])).unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("why it failed") && error.contains("exit status: 3"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_program_names_the_command_that_installs_it() {
        let error = wanted("postrider-no-such-program", "apt-get install it").unwrap_err().to_string();
        assert_eq!(
            error,
            "the program postrider-no-such-program is missing and could not be installed here; `apt-get install it` would install it"
        );
    }

    #[test]
    fn only_the_last_lines_that_say_something_are_kept() {
        let text = (0..20).map(|line| format!("{line}\n\n\tat Some.java\n")).collect::<String>();
        assert_eq!(last_lines(&text), "12\n13\n14\n15\n16\n17\n18\n19");
    }
}
