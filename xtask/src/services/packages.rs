//! Client libraries of other languages, which the tests of the kits run: from PyPI and npm, once.

use std::path::PathBuf;
use std::process::Command;

use crate::services::client::{cached, pip_install, run, wanted};
use crate::services::error::Result;
use crate::services::home::Home;
use crate::services::progress::Progress;

/// A Python package such as `redis==8.1.0`, alone; gives the folder for `PYTHONPATH`.
///
/// # Errors
/// If there is no Python with pip, or the package cannot be had.
pub fn python_package(requirement: &str, progress: &Progress) -> Result<PathBuf> {
    let task = progress.task(requirement);
    let folder = pip_install(&Home::open()?, &task, requirement)?;
    task.done("is here");
    Ok(folder)
}

/// A package of npm such as `ioredis@6.0.0` with all that it needs; gives the folder that holds its `node_modules`.
///
/// # Errors
/// If there is no npm, or the package cannot be had.
pub fn node_package(requirement: &str, progress: &Progress) -> Result<PathBuf> {
    let home = Home::open()?;
    let task = progress.task(requirement);
    let name = format!("npm-{}", requirement.replace(['@', '/'], "-"));
    let folder = cached(&home, &name, |folder| {
        let npm = wanted("npm", "apt-get install npm")?;
        task.say(&format!("npm install {requirement}"));
        let quiet = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        run(Command::new(npm).args(quiet).arg(folder).arg(requirement).current_dir(folder)).map(drop)
    })?;
    task.done("is here");
    Ok(folder)
}
