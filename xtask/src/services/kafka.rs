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
use crate::services::process::{Process, Signal, wait_until};
use crate::services::progress::Task;

/// The newest release whose artifacts are all on Maven Central.
pub(crate) const VERSION: &str = "4.3.1";

const START_PATIENCE: Duration = Duration::from_secs(120);

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

/// Whether a broker lives for one test or for days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Starts as fast as it can.
    Short,
    /// Runs as fast as it can.
    Long,
}

/// A broker's data directory with the jars it runs from.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) java: PathBuf,
    pub(crate) jars: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) life: Life,
}

impl Broker {
    /// The data directory, copied from a formatted template if it is not there yet.
    pub(crate) fn create(&self, home: &Home, task: &Task) -> Result<()> {
        if self.data.join("log/meta.properties").exists() {
            return Ok(());
        }
        let template = template(home, task, &self.java, &self.jars)?;
        remove_tree(&self.data)?;
        let partial = partial_of(&self.data);
        remove_tree(&partial)?;
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&partial))?;
        fs::rename(&partial, &self.data).context("rename", &partial)
    }

    /// Writes the settings of this start, the given ones last so that they win.
    pub(crate) fn configure(&self, port: u16, controller_port: u16, settings: &[(&str, &str)]) -> Result<()> {
        let mut text = properties(port, controller_port, &self.data.join("log"));
        for (name, value) in settings {
            text.push_str(&format!("{name}={}\n", value.replace('\\', "\\\\")));
        }
        let path = self.data.join("server.properties");
        fs::write(&path, text).context("write", &path)
    }

    /// Starts the broker and waits until it names itself in its metadata.
    pub(crate) fn start(&self, port: u16) -> Result<(Process, Child)> {
        let mut command = Command::new(&self.java);
        match self.life {
            Life::Short => command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx256m"]),
            Life::Long => command.args(["-XX:+UseG1GC", "-Xms128m", "-Xmx512m"]),
        };
        command.args(["-Xshare:auto", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        command.args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        ]);
        command.arg("-cp").arg(self.jars.join("*")).arg("kafka.Kafka").arg(self.data.join("server.properties"));
        let (process, mut child) = Process::spawn(command.current_dir("/"), &self.log)?;
        if wait_until(START_PATIENCE, || is_ready(port) || !process.is_alive()) && process.is_alive() {
            return Ok((process, child));
        }
        process.stop(Signal::KILL, STOP_PATIENCE);
        let _ = child.wait();
        let end = fs::read_to_string(&self.log).map(|log| last_lines(&log)).unwrap_or_default();
        Err(Error::NotReady { service: "kafka", reason: end, log: self.log.clone() })
    }
}

/// A controlled shutdown.
pub(crate) fn stop(process: Process) {
    process.stop(Signal::TERM, STOP_PATIENCE);
}

/// A Java 17 or newer, which Kafka 4 needs.
pub(crate) fn java() -> Result<PathBuf> {
    let own = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    own.or_else(|| on_path("java")).ok_or_else(|| Error::Missing {
        what: "Java 17 or newer".to_owned(),
        install: "apt-get install openjdk-17-jre-headless".to_owned(),
    })
}

/// The jars, fetched by Maven at their first use.
pub(crate) fn jars(home: &Home, task: &Task) -> Result<PathBuf> {
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

/// A formatted, empty data directory, made at its first use. The quorum's voters are in the settings, not in the data, so the ports stay free to choose.
fn template(home: &Home, task: &Task, java: &Path, jars: &Path) -> Result<PathBuf> {
    cached(home, &format!("template-kafka-{VERSION}"), |folder| {
        task.say(&format!("formatting Kafka {VERSION} storage"));
        let settings = folder.join("format.properties");
        fs::write(&settings, properties(1, 2, &folder.join("log"))).context("write", &settings)?;
        let mut format = Command::new(java);
        format.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error").arg("-cp").arg(jars.join("*"));
        format.args(["kafka.tools.StorageTool", "format", "-t", "UG9zdHJpZGVyTG9jYWwxMQ", "-c"]).arg(&settings);
        run(format.current_dir("/"))?;
        fs::remove_file(&settings).context("remove", &settings)
    })
}

/// A single node that is broker and controller, small in threads, memory and files.
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
         log.index.size.max.bytes=1048576\n\
         log.cleaner.dedupe.buffer.size=8388608\n\
         log.segment.bytes=268435456\n"
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
        let port = crate::services::port::choose(&[]).unwrap();
        assert!(!is_ready(port));
    }

    #[test]
    fn the_listeners_are_on_the_loopback_address_only() {
        let text = properties(19_092, 19_093, Path::new("/data"));
        assert!(text.contains("\nlisteners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093\n"), "{text}");
        assert!(!text.contains("0.0.0.0"));
    }
}
