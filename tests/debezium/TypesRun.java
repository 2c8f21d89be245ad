/*
 * Prints what Debezium's own PostgreSQL connector and Kafka Connect's own JSON converter make of each value in the table of docs/types.md,
 * and writes it into that table: the evidence beside what the relay writes. It needs JDK 17, Maven, and a Postgres with
 * wal_level = logical in which it may create a database (`cargo xtask services env` prints one):
 *
 *   mvn -f tests/debezium/pom.xml dependency:copy-dependencies -DoutputDirectory=libs
 *   javac -cp 'tests/debezium/libs/*' -d tests/debezium/out tests/debezium/TypesRun.java
 *   java -cp 'tests/debezium/out:tests/debezium/libs/*' TypesRun docs/types.md postgres://user:password@host:port/postgres
 */
import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;

import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

public class TypesRun {
    /** A row of the document: the line it stands on, and its cells. */
    record Row(int line, String column, String options, String value) {}

    /** What the connector made of it. */
    record Made(String schema, String json) {}

    static final String DATABASE = "debezium_types";
    /** What marks a statement after which the connector does not start any more. */
    static final String FATAL = "-- Debezium does not start";
    /** Of a longer value this much is kept. */
    static final int VALUE_MAX = 300;
    static final Map<String, String> OPTIONS = Map.of("decimal", "decimal.handling.mode", "time", "time.precision.mode", "interval",
            "interval.handling.mode", "binary", "binary.handling.mode", "hstore", "hstore.handling.mode", "money", "money.fraction.digits");

    public static void main(String[] args) throws Exception {
        Path file = Path.of(args[0]);
        URI server = URI.create(args[1]);
        List<String> lines = new ArrayList<>(Files.readAllLines(file));
        Map<String, List<Row>> groups = new LinkedHashMap<>();
        for (Row row : rows(lines)) if (!fatal(lines, row.column)) groups.computeIfAbsent(row.options, key -> new ArrayList<>()).add(row);
        sql(server, "postgres", "drop database if exists " + DATABASE + " with (force)", "create database " + DATABASE + " encoding 'UTF8' template template0");
        sql(server, DATABASE, setup(lines));
        int number = 0;
        for (var group : groups.entrySet()) run(server, group.getKey(), group.getValue(), number++, lines);
        sql(server, "postgres", "drop database " + DATABASE + " with (force)");
        Files.write(file, lines);
        System.exit(0);
    }

    /** The rows of every table whose first cell is headed `column`. */
    static List<Row> rows(List<String> lines) {
        List<Row> rows = new ArrayList<>();
        boolean inside = false;
        for (int at = 0; at < lines.size(); at++) {
            String line = lines.get(at);
            if (line.startsWith("| column |")) inside = true;
            else if (!line.startsWith("|")) inside = false;
            else if (inside && !line.startsWith("|---")) {
                String[] cells = cells(line);
                rows.add(new Row(at, text(cells[1]), text(cells[2]), text(cells[3])));
            }
        }
        return rows;
    }

    /** The cells of a row, before the first of which stands nothing; a bar within one has a backslash before it. */
    static String[] cells(String line) { return line.split("(?<!\\\\)\\|", -1); }
    static String text(String cell) {
        String text = cell.strip().replace("\\|", "|");
        return text.length() > 1 && text.startsWith("`") && text.endsWith("`") ? text.substring(1, text.length() - 1) : text;
    }
    static String cell(String text) { return text.isEmpty() ? " " : " `" + text.replace("|", "\\|") + "` "; }

    /** The document's own statements, in a block of SQL. */
    static String setup(List<String> lines) {
        int from = lines.indexOf("```sql");
        List<String> block = lines.subList(from + 1, from + 1 + lines.subList(from + 1, lines.size()).indexOf("```"));
        return String.join("\n", block.stream().filter(line -> !line.contains(FATAL)).toList());
    }

    /** Whether a type is one that keeps the connector from starting. */
    static boolean fatal(List<String> lines, String column) {
        return lines.stream().anyMatch(line -> line.contains(FATAL) && line.contains(" " + column.replace("[]", "") + " "));
    }

    /** One connector with one set of options: its tables, its rows, its records. */
    static void run(URI server, String options, List<Row> rows, int number, List<String> lines) throws Exception {
        String slot = DATABASE + "_" + number;
        Map<String, String> tables = new LinkedHashMap<>();
        for (Row row : rows) tables.computeIfAbsent(row.column, key -> "t" + number + "_" + tables.size());
        for (var table : tables.entrySet()) {
            sql(server, DATABASE, "create table " + table.getValue() + " (id int primary key, other int, c " + table.getKey() + ")");
            sql(server, DATABASE, "do $$ begin alter table " + table.getValue() + " alter c set storage external; exception when others then null; end $$");
        }
        sql(server, DATABASE, "create table last" + number + " (id int primary key)");

        Properties p = new Properties();
        p.put("name", slot);
        p.put("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
        p.put("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
        p.put("database.hostname", server.getHost());
        p.put("database.port", String.valueOf(server.getPort()));
        p.put("database.user", server.getUserInfo().split(":")[0]);
        p.put("database.password", server.getUserInfo().split(":")[1]);
        p.put("database.dbname", DATABASE);
        p.put("topic.prefix", "p");
        p.put("plugin.name", "pgoutput");
        p.put("slot.name", slot);
        p.put("slot.drop.on.stop", "true");
        p.put("publication.name", slot);
        p.put("snapshot.mode", "no_data");
        p.put("poll.interval.ms", "20");
        p.put("event.processing.failure.handling.mode", "warn");
        for (String option : options.split(" ")) {
            String[] pair = option.split("=");
            // Whether a schema goes along is the converter's business.
            if (OPTIONS.containsKey(pair[0])) p.put(OPTIONS.get(pair[0]), pair[1]);
        }
        Map<String, Made> made = new ConcurrentHashMap<>();
        CountDownLatch streaming = new CountDownLatch(1), last = new CountDownLatch(1);
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", "true"), false);
        DebeziumEngine<RecordChangeEvent<SourceRecord>> engine = DebeziumEngine.create(
                io.debezium.engine.format.ChangeEventFormat.of(Connect.class)).using(p)
                .using(new DebeziumEngine.ConnectorCallback() {
                    @Override public void pollingStarted() { streaming.countDown(); }
                })
                .using((success, message, error) -> {
                    if (!success) {
                        System.err.println(options + ": the connector ended: " + message);
                        System.exit(1);
                    }
                    streaming.countDown();
                    last.countDown();
                })
                .notifying((batch, committer) -> {
                    for (var event : batch) {
                        see(event.record(), converter, made, last);
                        committer.markProcessed(event);
                    }
                    committer.markBatchFinished();
                }).build();
        ExecutorService thread = Executors.newSingleThreadExecutor();
        thread.execute(engine);
        streaming.await(60, TimeUnit.SECONDS);
        while (count(server, "select count(*) from pg_replication_slots where active and slot_name = '" + slot + "'") == 0) Thread.sleep(50);
        for (Row row : rows) {
            String table = tables.get(row.column), value = row.value;
            String after = value.startsWith("unchanged ") ? "update " + table + " set other = 1" : value.startsWith("deleted ") ? "delete from " + table : null;
            if (after != null) value = value.substring(value.indexOf(' ') + 1);
            try {
                sql(server, DATABASE, "insert into " + table + " values (" + row.line + ", 0, " + value + ")");
                if (after != null) sql(server, DATABASE, after + " where id = " + row.line);
            } catch (SQLException error) {
                System.err.println((row.line + 1) + ": " + error.getMessage());
            }
        }
        sql(server, DATABASE, "insert into last" + number + " values (1)");
        if (!last.await(60, TimeUnit.SECONDS)) System.err.println(options + ": the last row did not come");
        engine.close();
        thread.shutdown();
        sql(server, DATABASE, "drop publication " + slot);
        Row before = null;
        String schema = "";
        for (Row row : rows) {
            String table = tables.get(row.column);
            String op = row.value.startsWith("unchanged ") ? "u" : row.value.startsWith("deleted ") ? "d" : "c";
            Made result = made.getOrDefault(op + " " + table + " " + row.line, new Made("", "(no event)"));
            String[] cells = cells(lines.get(row.line));
            boolean same = before != null && before.line + 1 == row.line && before.column.equals(row.column) && schema.equals(result.schema);
            cells[4] = same ? " 〃 " : cell(result.schema);
            cells[5] = cell(result.json.length() <= VALUE_MAX ? result.json : result.json.substring(0, VALUE_MAX) + "…");
            lines.set(row.line, String.join("|", cells));
            before = row;
            schema = result.schema;
        }
        System.err.println(options + ": " + rows.size() + " rows");
    }

    static void see(SourceRecord record, JsonConverter converter, Map<String, Made> made, CountDownLatch last) {
        if (!(record.value() instanceof Struct value) || value.schema().field("after") == null) return;
        Struct after = value.getStruct("after") != null ? value.getStruct("after") : value.getStruct("before");
        String op = value.getString("op"), table = value.getStruct("source").getString("table");
        if (after == null) return;
        if (table.startsWith("last")) { last.countDown(); return; }
        Field field = after.schema().field("c");
        Made result = new Made("", "(no column)");
        if (field != null) {
            String text;
            try {
                text = new String(converter.fromConnectData("t", field.schema(), after.getWithoutDefault("c")), StandardCharsets.UTF_8);
                int cut = text.indexOf(",\"payload\":");
                result = new Made(text.substring("{\"schema\":".length(), cut), text.substring(cut + ",\"payload\":".length(), text.length() - 1));
            } catch (RuntimeException error) {
                result = new Made("", "(dies) " + error.getMessage().replace('\n', ' '));
            }
        }
        made.put(op + " " + table + " " + after.getInt32("id"), result);
    }

    static void sql(URI server, String database, String... statements) throws SQLException {
        String[] user = server.getUserInfo().split(":");
        try (Connection session = DriverManager.getConnection("jdbc:postgresql://" + server.getHost() + ":" + server.getPort() + "/" + database, user[0], user[1]);
                Statement statement = session.createStatement()) {
            for (String text : statements) statement.execute(text);
        }
    }

    static long count(URI server, String query) throws SQLException {
        String[] user = server.getUserInfo().split(":");
        try (Connection session = DriverManager.getConnection("jdbc:postgresql://" + server.getHost() + ":" + server.getPort() + "/postgres", user[0], user[1]);
                var found = session.createStatement().executeQuery(query)) {
            found.next();
            return found.getLong(1);
        }
    }
}
