//! The files of the workspace, as a clone has them: without what is built and without hidden folders of tools.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the tree.
pub(crate) struct File {
    /// Its path from the root.
    pub(crate) path: PathBuf,
    /// Its text; a file that is no text has none.
    pub(crate) text: String,
}

impl File {
    /// Whether its name ends in `.extension`.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|own| own == extension)
    }

    /// Whether it is test code as a whole.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let folder = self.path.iter().rev().skip(1).any(|part| part == "tests");
        name == "tests" || name.ends_with("_tests") || folder
    }
}

/// The workspace's root: the parent of this package.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies below the workspace's root")
}

/// Names directly in the root, without those that git and cargo make.
pub(crate) fn root_entries() -> Vec<String> {
    let made = |name: &String| name == ".git" || name == "target";
    let entries = fs::read_dir(root()).expect("the root can be read");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| !made(name)).collect()
}

/// Every file of the tree.
pub(crate) fn files() -> Vec<File> {
    let mut found = Vec::new();
    for entry in root_entries() {
        collect(Path::new(&entry), &mut found);
    }
    assert!(found.len() > 50, "only {} files below {}: the walk is broken", found.len(), root().display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(path: &Path, found: &mut Vec<File>) {
    let whole = root().join(path);
    let made = ["node_modules", "__pycache__", "artifacts", "target"];
    if whole.is_symlink() || path.file_name().is_some_and(|name| made.iter().any(|made| name == *made)) {
        return;
    }
    if whole.is_dir() {
        for entry in fs::read_dir(&whole).expect("a folder of the tree can be read") {
            collect(&path.join(entry.expect("an entry").file_name()), found);
        }
    } else if let Ok(bytes) = fs::read(&whole) {
        // A file that vanished meanwhile (an editor's) is none of the tree.
        found.push(File { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() });
    }
}
