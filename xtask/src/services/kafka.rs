//! Apache Kafka in KRaft mode, natively: the broker's jars from Maven Central, one node that is broker and controller.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::services::client::{cached, last_lines, on_path, run, wanted};
use crate::services::error::{Error, IoContext, Result};
use crate::services::home::{Home, partial_of, remove_tree};
use crate::services::port;
use crate::services::process::{Process, Signal, wait_until};
use crate::services::progress::Task;

/// The newest release whose artifacts are all on Maven Central.
pub(crate) const VERSION: &str = "4.3.1";

/// For a broker without data.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// What each partition adds: after a crash every one of them is read again before the broker answers.
const START_PATIENCE_PER_PARTITION: Duration = Duration::from_millis(100);

/// A controlled shutdown takes about a second.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// `org.apache.kafka:kafka_2.13` is the broker; slf4j-simple writes its log to standard error.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>postrider</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// The broker's settings, in its data directory.
const SETTINGS: &str = "server.properties";

/// The archive of loaded classes, in the template
/// (<https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html>).
const ARCHIVE: &str = "classes.jsa";

/// Warnings and worse go to standard error, with their time.
pub(crate) const LOGGING: [&str; 3] = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
];

/// Whether a broker lives for one test or for days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Starts as fast as it can.
    Short,
    /// The same, with so much room that it hardly ever stops to collect garbage: what others are measured by must not stand still
    /// every 17 MiB, which at 2 000 records a second is more than once a second, for tens of milliseconds.
    Measured,
    /// Runs as fast as it can.
    Long,
}

/// What a broker runs from.
#[derive(Debug)]
pub(crate) struct Distribution {
    java: PathBuf,
    jars: PathBuf,
    /// Holds `log`, a formatted and empty data directory, and `classes.jsa`, the loaded classes of a first run: it
    /// halves the work of a start.
    template: PathBuf,
}

/// A broker's data directory with what it runs from.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) distribution: Distribution,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) life: Life,
}

impl Broker {
    /// The data directory, copied from a formatted template if it is not there yet.
    pub(crate) fn create(&self) -> Result<()> {
        if self.data.join("log/meta.properties").exists() {
            return Ok(());
        }
        remove_tree(&self.data)?;
        let partial = partial_of(&self.data);
        remove_tree(&partial)?;
        fs::create_dir_all(&partial).context("create", &partial)?;
        let copy = ["-a", "--reflink=auto"];
        run(Command::new("cp").args(copy).arg(self.distribution.template.join("log")).arg(&partial))?;
        fs::rename(&partial, &self.data).context("rename", &partial)
    }

    /// Writes the settings of this start, the given ones last so that they win.
    pub(crate) fn configure(&self, port: u16, controller_port: u16, settings: &[(&str, &str)]) -> Result<()> {
        let mut text = properties(port, controller_port, &self.data.join("log"));
        for (name, value) in settings {
            text.push_str(&format!("{name}={}\n", value.replace('\\', "\\\\").replace('\n', "\\n")));
        }
        let path = self.data.join(SETTINGS);
        fs::write(&path, text).context("write", &path)
    }

    /// Starts the broker and waits until it names itself in its metadata.
    pub(crate) fn start(&self, port: u16) -> Result<(Process, Child)> {
        let archive = format!("-XX:SharedArchiveFile={}", self.distribution.template.join(ARCHIVE).display());
        self.start_with(port, &archive)
    }

    /// Gives a user this password for a mechanism such as `SCRAM-SHA-256`.
    pub(crate) fn set_password(&self, port: u16, mechanism: &str, user: &str, password: &str) -> Result<()> {
        let mut command = Command::new(&self.distribution.java);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error").arg("-cp").arg(self.distribution.jars.join("*"));
        let credentials = format!("{mechanism}=[password={password}]");
        command.args(["kafka.admin.ConfigCommand", "--bootstrap-server", &format!("127.0.0.1:{port}"), "--alter"]);
        command.args(["--entity-type", "users", "--entity-name", user, "--add-config", &credentials]);
        run(command.current_dir("/")).map(drop)
    }

    fn start_with(&self, port: u16, archive: &str) -> Result<(Process, Child)> {
        let mut command = Command::new(&self.distribution.java);
        match self.life {
            Life::Short => command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx256m"]),
            Life::Measured => {
                command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms1g", "-Xmx1g", "-Xmn768m"])
            }
            Life::Long => command.args(["-XX:+UseG1GC", "-Xms128m", "-Xmx512m"]),
        };
        // An archive of another Java is passed over in silence, which only costs time.
        command.args(["-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr", archive, "-Djava.awt.headless=true"]);
        command.args(LOGGING).arg("-cp").arg(self.distribution.jars.join("*"));
        command.arg("kafka.Kafka").arg(self.data.join(SETTINGS));
        let (process, mut child) = Process::spawn(command.current_dir("/"), &self.log)?;
        if wait_until(self.start_patience(), || is_ready(port) || !process.is_alive()) && process.is_alive() {
            return Ok((process, child));
        }
        process.stop(Signal::KILL, STOP_PATIENCE);
        let _ = child.wait();
        let end = fs::read_to_string(&self.log).map(|log| last_lines(&log)).unwrap_or_default();
        Err(Error::NotReady { service: "kafka", reason: end, log: self.log.clone() })
    }

    fn start_patience(&self) -> Duration {
        // Nearly every entry is the folder of a partition.
        let partitions = fs::read_dir(self.data.join("log")).map_or(0, Iterator::count);
        START_PATIENCE + START_PATIENCE_PER_PARTITION * u32::try_from(partitions).unwrap_or(u32::MAX)
    }
}

/// A controlled shutdown.
pub(crate) fn stop(process: Process) {
    process.stop(Signal::TERM, STOP_PATIENCE);
}

impl Distribution {
    /// Finds Java, fetches the jars and makes the template: the latter two at the first use only.
    pub(crate) fn get(home: &Home, task: &Task) -> Result<Self> {
        let java = java()?;
        let jars = jars(home, task)?;
        let template = cached(home, &format!("template-kafka-{VERSION}"), |folder| {
            check_java(&java)?;
            task.say(&format!("preparing Kafka {VERSION}"));
            let distribution = Self { java: java.clone(), jars: jars.clone(), template: folder.to_path_buf() };
            distribution.format(&folder.join("log"))?;
            distribution.rehearse(&folder.join("rehearsal"))
        })?;
        Ok(Self { java, jars, template })
    }

    /// Formats an empty data directory. The quorum's voters are in the settings, not in the data, so the ports stay
    /// free to choose.
    fn format(&self, log: &Path) -> Result<()> {
        let settings = self.template.join("format.properties");
        fs::write(&settings, properties(1, 2, log)).context("write", &settings)?;
        let mut format = Command::new(&self.java);
        format.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error").arg("-cp").arg(self.jars.join("*"));
        format.args(["kafka.tools.StorageTool", "format", "-t", "UG9zdHJpZGVyTG9jYWwxMQ", "-c"]).arg(&settings);
        run(format.current_dir("/")).map(drop)
    }

    /// Runs a broker once, so that the classes it loads are archived at its end.
    fn rehearse(&self, data: &Path) -> Result<()> {
        let distribution = Self { java: self.java.clone(), jars: self.jars.clone(), template: self.template.clone() };
        let log = self.template.join("rehearsal.log");
        let broker = Broker { distribution, data: data.to_path_buf(), log, life: Life::Short };
        broker.create()?;
        let port = port::choose(&[])?;
        broker.configure(port, port::choose(&[port + 1])?, &[])?;
        let archive = format!("-XX:ArchiveClassesAtExit={}", self.template.join(ARCHIVE).display());
        let (process, mut child) = broker.start_with(port, &archive)?;
        stop(process);
        let _ = child.wait();
        remove_tree(data)
    }
}

/// A Java 17 or newer, which Kafka 4 needs.
pub(crate) fn java() -> Result<PathBuf> {
    let install = "apt-get install openjdk-17-jre-headless";
    let missing = |what: String| Error::Missing { what, install: install.to_owned() };
    let own = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    own.or_else(|| on_path("java")).ok_or_else(|| missing("Java 17 or newer".to_owned()))
}

/// Refuses a Java that is too old, by the `release` file that every one carries at its root.
pub(crate) fn check_java(java: &Path) -> Result<()> {
    let real = fs::canonicalize(java).context("resolve", java)?;
    let release = real.ancestors().nth(2).map(|root| root.join("release"));
    let text = release.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    // Without that file the broker itself will tell.
    match java_major(&text) {
        Some(major) if major < 17 => Err(Error::Missing {
            what: format!("Java 17 or newer ({} is {major})", java.display()),
            install: "apt-get install openjdk-17-jre-headless".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// `JAVA_VERSION="17.0.15"` → 17, `JAVA_VERSION="1.8.0_412"` → 1.
fn java_major(release: &str) -> Option<u32> {
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
    version.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// The jars, fetched by Maven at their first use.
fn jars(home: &Home, task: &Task) -> Result<PathBuf> {
    let folder = cached(home, &format!("kafka-{VERSION}"), |folder| {
        let maven = wanted("mvn", "apt-get install maven")?;
        task.say(&format!("fetching Kafka {VERSION} by mvn"));
        let pom = folder.join("pom.xml");
        fs::write(&pom, POM.replace("VERSION", VERSION)).context("write", &pom)?;
        let copy = ["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DincludeScope=runtime"];
        run(Command::new(maven).arg("-f").arg(&pom).args(copy).arg("-DoutputDirectory=jars").current_dir(folder))
            .map(drop)
    })?;
    Ok(folder.join("jars"))
}

/// A single node that is broker and controller, small in threads, memory and files. After a crash the controller
/// holds the old broker for alive until its session has timed out, hence the short session. Age removes nothing: it is told by
/// the records' own times, and tests write some of years ago.
fn properties(port: u16, controller_port: u16, log: &Path) -> String {
    let log = log.display();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         log.dirs={log}\n\
         auto.create.topics.enable=true\n\
         num.partitions=6\n\
         default.replication.factor=1\n\
         min.insync.replicas=1\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=2\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         background.threads=2\n\
         broker.heartbeat.interval.ms=500\n\
         broker.session.timeout.ms=3000\n\
         log.index.size.max.bytes=1048576\n\
         log.cleaner.dedupe.buffer.size=8388608\n\
         log.segment.bytes=268435456\n\
         log.retention.ms=-1\n"
    )
}

/// Whether the broker answers a metadata request and lists itself there; while it is still fenced it lists nobody.
pub(crate) fn is_ready(port: u16) -> bool {
    brokers_listed(port).is_ok_and(|count| count > 0)
}

/// One Metadata request of version 1, for no topics
/// (<https://kafka.apache.org/protocol.html#The_Messages_Metadata>).
fn brokers_listed(port: u16) -> std::io::Result<i32> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // Length, then: key 3, version 1, correlation id 7, client id "xtask", an array of no topics.
    stream.write_all(b"\x00\x00\x00\x13\x00\x03\x00\x01\x00\x00\x00\x07\x00\x05xtask\x00\x00\x00\x00")?;
    // Length, correlation id, and the number of brokers.
    let mut answer = [0_u8; 12];
    stream.read_exact(&mut answer)?;
    Ok(i32::from_be_bytes([answer[8], answer[9], answer[10], answer[11]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_ready_on_a_port_where_nobody_listens() {
        let port = port::choose(&[]).unwrap();
        assert!(!is_ready(port));
    }

    #[test]
    fn the_major_of_a_java_is_read_from_its_release_file() {
        assert_eq!(java_major("IMPLEMENTOR=\"X\"\nJAVA_VERSION=\"17.0.15\"\n"), Some(17));
        assert_eq!(java_major("JAVA_VERSION=\"1.8.0_412\"\n"), Some(1));
        assert_eq!(java_major(""), None);
    }

    #[test]
    fn the_listeners_are_on_the_loopback_address_only() {
        let text = properties(19_092, 19_093, Path::new("/data"));
        assert!(text.contains("\nlisteners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093\n"), "{text}");
        assert!(!text.contains("0.0.0.0"));
    }
}
