//! `kafka-producer-perf-test`, the yardstick of Kafka's own producer: the jars from Maven Central.

use std::fs;
use std::process::Command;

use crate::services::client::{cached, run, wanted};
use crate::services::error::{IoContext, Result};
use crate::services::home::Home;
use crate::services::kafka;
use crate::services::progress::Progress;

/// The broker's jars do not hold it.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>postrider</groupId><artifactId>tools</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#;

/// The program without its arguments, see
/// <https://github.com/apache/kafka/blob/trunk/tools/src/main/java/org/apache/kafka/tools/ProducerPerformance.java>. The jars are
/// fetched at the first use.
///
/// # Errors
/// If there is no Java 17, or no Maven when the jars are not here yet.
pub fn producer_performance(progress: &Progress) -> Result<Command> {
    let home = Home::open()?;
    let task = progress.task("kafka-tools");
    let java = kafka::java()?;
    kafka::check_java(&java)?;
    let version = kafka::VERSION;
    let folder = cached(&home, &format!("kafka-tools-{version}"), |folder| {
        let maven = wanted("mvn", "apt-get install maven")?;
        task.say(&format!("fetching Kafka's tools {version} by mvn"));
        let pom = folder.join("pom.xml");
        fs::write(&pom, POM.replace("VERSION", version)).context("write", &pom)?;
        let copy = ["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DincludeScope=runtime"];
        run(Command::new(maven).arg("-f").arg(&pom).args(copy).arg("-DoutputDirectory=jars").current_dir(folder))
            .map(drop)
    })?;
    task.done(&format!("{version} is here"));
    let mut command = Command::new(java);
    // As Kafka's own script starts it.
    command.args(["-Xmx512M", "-Djava.awt.headless=true"]).args(kafka::LOGGING);
    command.arg("-cp").arg(folder.join("jars").join("*")).arg("org.apache.kafka.tools.ProducerPerformance");
    Ok(command)
}
