/*
 * Debezium's embedded engine, whose records go to Kafka as Debezium Server's Kafka sink sends them: key, value and headers as the
 * JSON converters made them, no partition, no timestamp; a batch is done when every one of its records is acknowledged.
 *
 *   java -cp 'jars/*' DebeziumToKafka.java <properties>
 *
 * The properties are the engine's and the connector's own; those that begin with "producer." are the producer's. With "halt.after" it
 * dies, as by a SIGKILL, as soon as so many records are delivered and their offsets are stored. It ends when its
 * standard input does, so that it never outlives who started it, or with code 1 and the engine's error on standard error.
 */
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import io.debezium.engine.format.KeyValueHeaderChangeEventFormat;
import java.io.FileReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class DebeziumToKafka {
    static long delivered;

    public static void main(String[] arguments) throws Exception {
        Properties all = new Properties();
        try (FileReader reader = new FileReader(arguments[0], StandardCharsets.UTF_8)) {
            all.load(reader);
        }
        Properties engine = new Properties();
        Properties producer = new Properties();
        for (String name : all.stringPropertyNames()) {
            boolean ours = name.startsWith("producer.");
            (ours ? producer : engine).setProperty(ours ? name.substring("producer.".length()) : name, all.getProperty(name));
        }
        KafkaProducer<byte[], byte[]> kafka = new KafkaProducer<>(producer, new ByteArraySerializer(), new ByteArraySerializer());
        long haltAfter = Long.parseLong(engine.getProperty("halt.after", Long.toString(Long.MAX_VALUE)));
        CountDownLatch ended = new CountDownLatch(1);
        Throwable[] failure = new Throwable[1];
        DebeziumEngine<ChangeEvent<String, String>> debezium = DebeziumEngine
                .create(KeyValueHeaderChangeEventFormat.of(Json.class, Json.class, Json.class),
                        "io.debezium.embedded.async.ConvertingAsyncEngineBuilderFactory")
                .using(engine)
                .using((success, message, error) -> {
                    failure[0] = success ? null : error == null ? new IllegalStateException(message) : error;
                    ended.countDown();
                })
                .notifying((batch, committer) -> {
                    deliver(kafka, batch, committer);
                    delivered += batch.size();
                    if (delivered >= haltAfter) {
                        Runtime.getRuntime().halt(137);
                    }
                })
                .build();
        start("engine", debezium);
        start("input", () -> closeAtEndOfInput(debezium));
        ended.await();
        if (failure[0] != null) {
            failure[0].printStackTrace();
        }
        // Idle threads of the engine's pools would keep the process alive for another minute.
        System.exit(failure[0] == null ? 0 : 1);
    }

    static void deliver(KafkaProducer<byte[], byte[]> kafka, List<ChangeEvent<String, String>> batch,
            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) throws InterruptedException {
        List<Future<RecordMetadata>> sent = new ArrayList<>(batch.size());
        for (ChangeEvent<String, String> event : batch) {
            ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(event.destination(), bytes(event.key()), bytes(event.value()));
            event.headers().forEach(header -> record.headers().add(header.getKey(), bytes(header.getValue())));
            sent.add(kafka.send(record));
        }
        for (int i = 0; i < batch.size(); i++) {
            try {
                sent.get(i).get();
            } catch (java.util.concurrent.ExecutionException refused) {
                throw new IllegalStateException("Kafka refused a record", refused);
            }
            committer.markProcessed(batch.get(i));
        }
        committer.markBatchFinished();
    }

    static byte[] bytes(Object text) {
        return text == null ? null : text.toString().getBytes(StandardCharsets.UTF_8);
    }

    static void start(String name, Runnable work) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        thread.start();
    }

    static void closeAtEndOfInput(DebeziumEngine<?> debezium) {
        try {
            while (System.in.read() >= 0) {
            }
            debezium.close();
        } catch (Exception cannot) {
            cannot.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }
}
