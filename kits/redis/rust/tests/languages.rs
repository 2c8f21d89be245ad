//! The examples of three languages, each run as a reader would run it: the same scripts, the same answers.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use xtask::services::{Progress, node_package, python_package};

use crate::invalidation::{Pass, invalidate};
use crate::server;

/// The kit's folder.
fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// One run of an example for a page of one's own.
struct Reader {
    program: Vec<String>,
    variables: Vec<(&'static str, String)>,
    tag: String,
}

impl Reader {
    fn spawn(&self, url: &str, load: &[&str]) -> Child {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).arg(&self.tag).arg(format!("page:{}", self.tag)).args(load);
        command.env("REDIS_URL", url).envs(self.variables.clone());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn run(&self, load: &[&str]) -> Vec<u8> {
        said(self.spawn(&server::url(), load))
    }

    async fn invalidate(&self, position: u128) {
        assert!(invalidate(&mut server::connect().await, &self.tag, position, Pass::First).await);
    }
}

fn said(child: Child) -> Vec<u8> {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    stdout
}

/// A page that is filled, hit, invalidated under a reader's hands, stale and bypassed.
async fn a_day_in_the_life(reader: Reader) {
    // Bytes, not text: a null and no UTF-8.
    let bytes = ["printf", r"o\000n\377e"];
    assert_eq!(reader.run(&bytes), b"filled\no\0n\xffe\n");
    assert_eq!(reader.run(&["false"]), b"hit\no\0n\xffe\n");
    reader.invalidate(1).await;
    assert_eq!(reader.run(&["false"]), b"stale\no\0n\xffe\n");

    // The command waits at the pipe until it is opened here; then the reader has looked into the cache, and not stored yet.
    let folder = std::env::temp_dir().join(reader.tag.replace(':', "-"));
    std::fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let child = reader.spawn(&server::url(), &["cat", pipe.to_str().unwrap()]);
    let mut database = File::options().write(true).open(&pipe).unwrap();
    reader.invalidate(2).await;
    database.write_all(b"read before").unwrap();
    drop(database);
    assert_eq!(said(child), b"refused\nread before\n");
    std::fs::remove_dir_all(folder).unwrap();

    assert_eq!(reader.run(&["printf", "two"]), b"filled\ntwo\n");
    // Nobody listens on the port of discarded bytes.
    assert_eq!(said(reader.spawn("redis://127.0.0.1:9/", &["printf", "direct"])), b"bypassed\ndirect\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_rust_is_served_only_what_is_valid() {
    let built =
        Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "postrider-cache", "--examples"]).status();
    assert!(built.unwrap().success());
    let binary = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/read_page");
    let program = vec![binary.display().to_string()];
    a_day_in_the_life(Reader { program, variables: Vec::new(), tag: server::tag("rust") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_python_is_served_only_what_is_valid() {
    let packages = tokio::task::spawn_blocking(|| python_package("redis==8.1.0", &Progress::silent()).unwrap());
    let variables = vec![("PYTHONPATH", packages.await.unwrap().display().to_string())];
    let program = vec!["python3".to_owned(), kit().join("python/postrider_cache.py").display().to_string()];
    a_day_in_the_life(Reader { program, variables, tag: server::tag("python") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_node_is_served_only_what_is_valid() {
    let installed = tokio::task::spawn_blocking(|| node_package("ioredis@6.0.0", &Progress::silent()).unwrap());
    let installed = installed.await.unwrap();
    // Modules are looked for beside the file that asks: so it is read from beside them, with the scripts one folder up.
    let place = std::env::temp_dir().join(server::tag("kit").replace(':', "-"));
    std::fs::create_dir_all(place.join("node")).unwrap();
    for file in ["open.lua", "fill.lua", "node/postrider-cache.mjs", "node/package.json"] {
        std::fs::copy(kit().join(file), place.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(installed.join("node_modules"), place.join("node/node_modules")).unwrap();
    let program = vec!["node".to_owned(), place.join("node/postrider-cache.mjs").display().to_string()];
    a_day_in_the_life(Reader { program, variables: Vec::new(), tag: server::tag("node") }).await;
    std::fs::remove_dir_all(place).unwrap();
}
