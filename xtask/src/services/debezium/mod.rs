//! The real Debezium, to compare with: its PostgreSQL connector in its embedded engine, the jars from Maven Central.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::services::client::{cached, run, wanted};
use crate::services::error::{IoContext, Result};
use crate::services::home::Home;
use crate::services::kafka;
use crate::services::progress::Progress;

/// The release that is compared with.
pub const VERSION: &str = "3.6.3.Final";

/// Brings the converters and a Kafka client with it; slf4j-simple writes the engine's log to standard error.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>postrider</groupId><artifactId>debezium</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>io.debezium</groupId><artifactId>debezium-embedded</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>io.debezium</groupId><artifactId>debezium-connector-postgres</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// The engine with Kafka behind it.
const MAIN: &str = include_str!("DebeziumToKafka.java");

/// Enough for its queue of wide rows; it takes what it is given.
const HEAP: &str = "-Xmx512m";

/// What an engine runs from.
#[derive(Debug, Clone)]
pub struct Debezium {
    java: PathBuf,
    jars: PathBuf,
}

impl Debezium {
    /// Finds Java and fetches the jars, the latter at the first use only.
    ///
    /// # Errors
    /// If there is no JDK 17, or no Maven when the jars are not here yet.
    pub fn get(progress: &Progress) -> Result<Self> {
        let home = Home::open()?;
        let task = progress.task("debezium");
        let java = kafka::java()?;
        kafka::check_java(&java)?;
        let folder = cached(&home, &format!("debezium-{VERSION}"), |folder| {
            let maven = wanted("mvn", "apt-get install maven")?;
            task.say(&format!("fetching Debezium {VERSION} by mvn"));
            let pom = folder.join("pom.xml");
            fs::write(&pom, POM.replace("VERSION", VERSION)).context("write", &pom)?;
            let copy = ["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DincludeScope=runtime"];
            run(Command::new(maven).arg("-f").arg(&pom).args(copy).arg("-DoutputDirectory=jars").current_dir(folder))
                .map(drop)
        })?;
        task.done(&format!("{VERSION} is here"));
        Ok(Self { java, jars: folder.join("jars") })
    }

    /// The command that runs an engine with these properties, its own and (with `producer.` before them) its Kafka producer's;
    /// they and the program are written into `folder`. The engine ends when its standard input does, so that it never
    /// outlives who started it; its log goes to standard error.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn command(&self, folder: &std::path::Path, properties: &[(String, String)]) -> Result<Command> {
        let (main, settings) = (folder.join("DebeziumToKafka.java"), folder.join("engine.properties"));
        fs::write(&main, MAIN).context("write", &main)?;
        let text: String = properties.iter().map(|(name, value)| format!("{name}={}\n", escaped(value))).collect();
        fs::write(&settings, text).context("write", &settings)?;
        let mut command = Command::new(&self.java);
        command.args([HEAP, "-XX:+UseSerialGC", "-Djava.awt.headless=true"]);
        command.args(kafka::LOGGING).arg("-cp").arg(self.jars.join("*")).arg(&main).arg(&settings);
        Ok(command)
    }
}

/// A value as a properties file wants it
/// (<https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_backslash_reaches_the_engine_as_one() {
        assert_eq!(escaped(r"public\.posts"), r"public\\.posts");
    }
}
