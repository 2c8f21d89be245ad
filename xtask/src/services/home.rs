//! The one folder of this user's services: downloads, data, logs, state and locks, outside of the source tree.
//!
//! Postgres refuses to run as root, so for root every folder on the way must be open to the user that Postgres gets.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::services::error::{Error, IoContext, Result};

/// The environment variable that puts the folder elsewhere.
pub const VARIABLE: &str = "POSTRIDER_SERVICES_HOME";

/// A socket's whole path may have 107 bytes (`sockaddr_un`); ours adds at most 45 to the folder's.
const PATH_BYTES_MAX: usize = 60;

/// The folder, known to exist and to be usable.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: PathBuf,
    user: ServiceUser,
}

/// The user that Postgres runs as: ourselves, or another if we are root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceUser {
    /// User and group ids to change to; none if we stay who we are.
    pub(crate) change_to: Option<(u32, u32)>,
}

impl Home {
    /// Finds the folder and creates it if need be.
    pub(crate) fn open() -> Result<Self> {
        let own = rustix::process::geteuid().as_raw();
        let user = ServiceUser::choose(own)?;
        let root = match std::env::var_os(VARIABLE) {
            Some(path) => explicit(Path::new(&path), user)?,
            None => chosen(own, user),
        };
        DirBuilder::new().recursive(true).mode(0o755).create(&root).context("create", &root)?;
        let found = fs::symlink_metadata(&root).context("look at", &root)?;
        if !found.is_dir() || found.uid() != own {
            return Err(Error::Unsupported(format!(
                "{} belongs to somebody else; set {VARIABLE} to a folder of your own",
                root.display()
            )));
        }
        let home = Self { root, user };
        home.open_to_service_user(&home.root)?;
        for folder in ["cache", "data", "logs", "locks", "private", "sockets"] {
            home.folder(folder)?;
        }
        Ok(home)
    }

    /// The user that Postgres runs as.
    pub(crate) fn user(&self) -> ServiceUser {
        self.user
    }

    /// A path below the folder.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// A folder below the folder, created if need be, open to the user that Postgres runs as.
    pub(crate) fn folder(&self, below: &str) -> Result<PathBuf> {
        let path = self.path(below);
        DirBuilder::new().recursive(true).mode(0o755).create(&path).context("create", &path)?;
        self.open_to_service_user(&path)?;
        Ok(path)
    }

    /// Undoes a strict umask where Postgres runs as somebody else.
    fn open_to_service_user(&self, folder: &Path) -> Result<()> {
        if self.user.change_to.is_some() { set_mode(folder, 0o755) } else { Ok(()) }
    }

    /// A new folder that belongs to Postgres's user alone; what was there before is removed.
    pub(crate) fn service_folder(&self, path: &Path) -> Result<()> {
        remove_tree(path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path).context("create", path)?;
        self.user.own(path)
    }

    /// The superuser's password, made once and readable by us alone.
    pub(crate) fn password(&self) -> Result<String> {
        let _lock = self.lock("password")?;
        let path = self.path("password");
        match fs::read_to_string(&path) {
            Ok(password) if !password.is_empty() => return Ok(password),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path, error)),
        }
        let password = random_hex()?;
        write_private(&path, &password)?;
        Ok(password)
    }

    /// Waits for, then holds, the lock of that name until the value is dropped; it works between processes and
    /// between threads.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        let path = self.path("locks").join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path).context("open", &path)?;
        file.lock().context("lock", &path)?;
        Ok(file)
    }
}

impl ServiceUser {
    fn choose(own: u32) -> Result<Self> {
        if own != 0 {
            return Ok(Self { change_to: None });
        }
        let users = fs::read_to_string("/etc/passwd").context("read", Path::new("/etc/passwd"))?;
        let found = ["postgres", "nobody"].iter().find_map(|name| ids_of(&users, name));
        found.map(|ids| Self { change_to: Some(ids) }).ok_or_else(|| Error::Missing {
            what: "a user other than root for Postgres".to_owned(),
            install: "useradd --system postgres".to_owned(),
        })
    }

    /// Gives a file or folder to this user.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        match self.change_to {
            Some((uid, gid)) => {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).context("change the owner of", path)
            }
            None => Ok(()),
        }
    }

    /// Whether this user may pass through every folder on the way to `path`. Only asked about others: for root's sake.
    pub(crate) fn can_reach(self, path: &Path) -> bool {
        self.change_to.is_none()
            || path.ancestors().filter_map(|folder| fs::metadata(folder).ok()).all(|found| {
                // Files need no execute bit, and what Postgres's user owns is open to it.
                !found.is_dir() || found.mode() & 0o001 != 0 || Some(found.uid()) == self.change_to.map(|ids| ids.0)
            })
    }
}

/// Removes a tree if it is there.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&partial)
        .context("write", &partial)?;
    file.write_all(text.as_bytes()).context("write", &partial)?;
    fs::rename(&partial, path).context("write", path)
}

/// Where a file or folder is made before it gets its name.
pub(crate) fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Sets the permission bits of one file or folder.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).context("change the mode of", path)
}

fn explicit(path: &Path, user: ServiceUser) -> Result<PathBuf> {
    let path = std::path::absolute(path).context("resolve", path)?;
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(Error::Unsupported(format!(
            "{VARIABLE} is longer than {PATH_BYTES_MAX} bytes, too long for a socket below it: {}",
            path.display()
        )));
    }
    if !user.can_reach(&path) {
        return Err(Error::Unsupported(format!(
            "{VARIABLE}={} cannot be reached by the user that Postgres runs as (root may not run it); choose a folder whose parents are open to all",
            path.display()
        )));
    }
    Ok(path)
}

fn chosen(own: u32, user: ServiceUser) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache
        .map(|cache| cache.join("postrider"))
        .filter(|path| path.is_absolute() && path.as_os_str().len() <= PATH_BYTES_MAX && user.can_reach(path))
        .unwrap_or_else(|| PathBuf::from(format!("/var/tmp/postrider-{own}")))
}

/// The ids of a user in the text of `/etc/passwd`.
fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn random_hex() -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).context("read", path)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_in_the_password_file_by_its_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgres2:x:9:9::/:\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids_of(users, "postgres"), Some((101, 104)));
        assert_eq!(ids_of(users, "nobody"), None);
    }

    #[test]
    fn another_user_cannot_reach_what_lies_behind_a_closed_folder() {
        let closed = std::env::temp_dir().join(format!("postrider-home-{}", std::process::id()));
        fs::create_dir_all(closed.join("below")).unwrap();
        set_mode(&closed, 0o700).unwrap();
        let stranger = ServiceUser { change_to: Some((64_000, 64_000)) };
        assert!(!stranger.can_reach(&closed.join("below")));
        set_mode(&closed, 0o755).unwrap();
        assert!(stranger.can_reach(&closed.join("below")));
        fs::remove_dir_all(closed).unwrap();
    }
}
