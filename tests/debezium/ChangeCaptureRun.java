/*
 * Prints what the real PostgreSQL connector of Debezium and Kafka Connect's own JSON converter make of changes in a real database:
 * the evidence behind docs/change-data-capture.md, and the recording that the relay's tests hold its own bytes against. It needs
 * JDK 17, Maven and a Postgres with wal_level = logical that it may fill; no broker:
 *
 *   mvn -f tests/debezium/pom.xml dependency:copy-dependencies -DoutputDirectory=libs
 *   javac -cp 'tests/debezium/libs/*' -d tests/debezium/out tests/debezium/ChangeCaptureRun.java
 *   java -cp 'tests/debezium/out:tests/debezium/libs/*' ChangeCaptureRun jdbc:postgresql://127.0.0.1:5432/postgres postgres '' > recorded.jsonl
 *
 * Each line is a JSON object: the case, and of one record the topic, the key, the value and the headers. A key or a value that is null
 * is null; else it is the text that JsonConverter wrote without schemas, whose schema it wrote is told when it changes. Each header
 * has its name, and its value from SimpleHeaderConverter, from JsonConverter without schemas, and from JsonConverter with them;
 * one that is the same as before has its name only. A further argument runs only the case of that name.
 */
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import io.debezium.embedded.Connect;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.*;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.HeaderConverter;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public class ChangeCaptureRun {
    static final ObjectMapper MAPPER = new ObjectMapper();
    static String url, user, password, only;

    static JsonConverter converter(boolean key, boolean schemas) {
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", String.valueOf(schemas)), key);
        return converter;
    }

    static final JsonConverter[] KEYS = {converter(true, false), converter(true, true)};
    static final JsonConverter[] VALUES = {converter(false, false), converter(false, true)};

    static void put(ObjectNode node, String name, byte[] text) {
        if (text == null) node.putNull(name); else node.put(name, new String(text, StandardCharsets.UTF_8));
    }

    /** The schema that stands around `text` in `whole`; it is told once for each topic of a case. */
    static void schema(ObjectNode line, String name, byte[] text, byte[] whole) {
        if (whole == null) return;
        String end = ",\"payload\":" + new String(text, StandardCharsets.UTF_8) + "}", all = new String(whole, StandardCharsets.UTF_8);
        if (!all.startsWith("{\"schema\":") || !all.endsWith(end)) throw new IllegalStateException(all);
        String schema = all.substring(10, all.length() - end.length());
        String before = told.put(line.get("topic").asText() + name, schema);
        if (!schema.equals(before)) line.put(name, schema);
    }

    static final Map<String, String> told = new HashMap<>();

    static void print(String name, SourceRecord record) throws Exception {
        ObjectNode line = MAPPER.createObjectNode();
        line.put("case", name).put("topic", record.topic());
        if (record.timestamp() != null) line.put("timestamp", record.timestamp());
        byte[][] keys = new byte[2][], values = new byte[2][];
        for (int i = 0; i < 2; i++) {
            keys[i] = KEYS[i].fromConnectData(record.topic(), record.keySchema(), record.key());
            values[i] = VALUES[i].fromConnectData(record.topic(), record.valueSchema(), record.value());
        }
        put(line, "key", keys[0]);
        put(line, "value", values[0]);
        schema(line, "key_schema", keys[0], keys[1]);
        schema(line, "value_schema", values[0], values[1]);
        ArrayNode headers = line.putArray("headers");
        try (SimpleHeaderConverter simple = new SimpleHeaderConverter()) {
            for (Header header : record.headers()) {
                ArrayNode texts = headers.addArray().add(header.key());
                for (HeaderConverter converter : new HeaderConverter[] {simple, VALUES[0], VALUES[1]}) {
                    byte[] value = converter.fromConnectHeader(record.topic(), header.key(), header.schema(), header.value());
                    texts.add(value == null ? null : new String(value, StandardCharsets.UTF_8));
                }
                // The same again is told by its name.
                String all = texts.toString();
                if (all.equals(told.put("header " + header.key(), all))) texts.removeAll().add(header.key());
            }
        }
        System.out.println(MAPPER.writeValueAsString(line));
    }

    static void sql(String... statements) throws SQLException {
        try (Connection connection = DriverManager.getConnection(url, user, password); Statement statement = connection.createStatement()) {
            for (String text : statements) statement.execute(text);
        }
    }

    /** Runs the connector over what `statements` do; each is a transaction. */
    static void run(String name, Map<String, String> more, String[] before, String... statements) throws Exception {
        if (only != null && !only.equals(name)) return;
        told.clear();
        sql("drop schema if exists cdc cascade", "drop schema if exists \"We ird\" cascade", "create schema cdc", "drop table if exists public.done", "create table public.done (id int primary key)");
        sql(before);
        java.net.URI uri = java.net.URI.create(url.substring(5));
        Properties props = new Properties();
        props.putAll(Map.ofEntries(
            Map.entry("name", "recorder"), Map.entry("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            Map.entry("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore"),
            Map.entry("plugin.name", "pgoutput"), Map.entry("slot.name", "recorder"), Map.entry("slot.drop.on.stop", "true"),
            Map.entry("publication.name", "recorder"), Map.entry("publication.autocreate.mode", "all_tables"),
            Map.entry("schema.include.list", "cdc|public|We ird"),
            Map.entry("database.hostname", uri.getHost()), Map.entry("database.port", String.valueOf(uri.getPort())),
            Map.entry("database.dbname", uri.getPath().substring(1)), Map.entry("database.user", user), Map.entry("database.password", password),
            Map.entry("topic.prefix", "app"), Map.entry("skipped.operations", "none"), Map.entry("poll.interval.ms", "20")));
        props.putAll(more);
        CountDownLatch done = new CountDownLatch(1), started = new CountDownLatch(1);
        boolean[] dead = {false};
        DebeziumEngine<RecordChangeEvent<SourceRecord>> engine = DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
            .using(props)
            .using(new DebeziumEngine.ConnectorCallback() { @Override public void pollingStarted() { started.countDown(); } })
            .using((success, message, error) -> {
                if (!success) { dead[0] = true; System.err.println(name + ": " + message + " " + error); }
                started.countDown(); done.countDown();
            })
            .notifying((records, committer) -> {
                for (RecordChangeEvent<SourceRecord> event : records) {
                    SourceRecord record = event.record();
                    boolean last = record.topic().endsWith("public.done");
                    // What is told of many tables is the end of their transaction; signals say when they were written.
                    boolean told = !last && done.getCount() > 0 && !record.topic().endsWith("cdc.signals") && (!name.equals("transaction over tables") || record.topic().endsWith(".transaction"));
                    try { if (told) print(name, record); } catch (Throwable error) { System.err.println(name + ": " + error); }
                    committer.markProcessed(event);
                    if (last) done.countDown();
                }
                committer.markBatchFinished();
            }).build();
        ExecutorService executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        started.await(60, TimeUnit.SECONDS);
        // What is written while the snapshot is taken would be a part of it.
        for (int i = 0; i < 600 && !streaming(); i++) Thread.sleep(50);
        if (!dead[0]) { for (String statement : statements) sql(statement); sql("insert into public.done values (1)"); }
        if (!done.await(60, TimeUnit.SECONDS)) System.err.println(name + ": gave up waiting");
        engine.close();
        executor.shutdown();
        executor.awaitTermination(30, TimeUnit.SECONDS);
        sql("drop publication if exists recorder");
    }

    static boolean streaming() throws SQLException {
        try (Connection connection = DriverManager.getConnection(url, user, password); Statement statement = connection.createStatement();
             ResultSet rows = statement.executeQuery("select count(*) from pg_stat_replication where state = 'streaming'")) {
            return rows.next() && rows.getInt(1) > 0;
        }
    }

    static String[] s(String... statements) { return statements; }

    static final String ROWS = "(id int primary key, name text not null, note text, n int not null default 5, o int default 7, f boolean not null)";
    static final String LONG = "repeat('x', 2100)";

    static String[] changes(String table) {
        return s("insert into " + table + " values (1, 'a\"b', null, 1, null, true)", "update " + table + " set name = 'b' where id = 1",
            "update " + table + " set name = 'b' where id = 1", "update " + table + " set id = 2, note = 'x' where id = 1", "delete from " + table + " where id = 2");
    }

    static String[] join(String[]... lists) { return Arrays.stream(lists).flatMap(Arrays::stream).toArray(String[]::new); }

    public static void main(String[] arguments) throws Exception {
        url = arguments[0]; user = arguments[1]; password = arguments[2];
        if (arguments.length > 3) only = arguments[3];
        Map<String, String> none = Map.of();
        run("identity default", none, s("create table cdc.t " + ROWS, "insert into cdc.t values (9, 'old', null, 3, null, false)"), join(changes("cdc.t"), s("truncate cdc.t")));
        run("identity full", none, s("create table cdc.t " + ROWS, "alter table cdc.t replica identity full"), changes("cdc.t"));
        run("identity index", none, s("create table cdc.t (id int not null, code int not null, name text)", "create unique index on cdc.t (code)", "alter table cdc.t replica identity using index t_code_idx"),
            "insert into cdc.t values (1, 10, 'a')", "update cdc.t set name = 'b'", "update cdc.t set code = 11", "delete from cdc.t");
        run("identity index beside a primary key", none, s("create table cdc.t (id int primary key, code int not null, name text)", "create unique index on cdc.t (code)", "alter table cdc.t replica identity using index t_code_idx"),
            "insert into cdc.t values (1, 10, 'a')", "update cdc.t set name = 'b'", "update cdc.t set code = 11", "update cdc.t set id = 2", "update cdc.t set id = 3, code = 12", "delete from cdc.t");
        run("no key", none, s("create table cdc.t (id int, name text)"), "insert into cdc.t values (1, 'a')", "truncate cdc.t");
        run("no key full", none, s("create table cdc.t (id int, name text)", "alter table cdc.t replica identity full"), "insert into cdc.t values (1, 'a')", "update cdc.t set id = 2", "delete from cdc.t");
        run("unique index and full", none, s("create table cdc.t (id int, code int not null unique, name text)", "alter table cdc.t replica identity full"), "insert into cdc.t values (1, 10, 'a')", "update cdc.t set code = 2", "delete from cdc.t");
        run("key of two", none, s("create table cdc.t (a text, b int, c int, primary key (b, a))"), "insert into cdc.t values ('x', 1, 2)", "update cdc.t set a = 'y'", "delete from cdc.t");
        run("names", none, s("create schema \"We ird\"", "create table \"We ird\".\"T\u00e4.b-le\" (\"i d\" int primary key, \"c\"\"\u00f6l\" text)"),
            "insert into \"We ird\".\"T\u00e4.b-le\" values (1, '\u00e9\ud83d\udc0e\u0001\u001f\t\u007f/')", "update \"We ird\".\"T\u00e4.b-le\" set \"i d\" = 2");
        run("toast", none, s("create table cdc.t (id int primary key, big text, must text not null, n int)", "alter table cdc.t alter big set storage external, alter must set storage external"), "insert into cdc.t values (1, " + LONG + ", " + LONG + ", 1)", "update cdc.t set n = 2", "update cdc.t set id = 2");
        run("toast full", none, s("create table cdc.t (id int primary key, big text, n int)", "alter table cdc.t alter big set storage external", "alter table cdc.t replica identity full"), "insert into cdc.t values (1, " + LONG + ", 1)", "update cdc.t set n = 2", "update cdc.t set id = 2");
        run("messages", none, s(), "select pg_logical_emit_message(true, 'pre\"fix', 'con\"tent')", "select pg_logical_emit_message(false, 'loose', '')", "select pg_logical_emit_message(true, '', 'x')");
        run("messages in hex", Map.of("binary.handling.mode", "hex"), s(), "select pg_logical_emit_message(true, 'p', '\\xfbff00'::bytea)");
        run("messages in base64", Map.of("binary.handling.mode", "base64"), s(), "select pg_logical_emit_message(true, 'p', '\\xfbff00'::bytea)");
        run("messages in base64 for URLs", Map.of("binary.handling.mode", "base64-url-safe"), s(), "select pg_logical_emit_message(true, 'p', '\\xfbff00'::bytea)");
        run("text keys", none, s("create table cdc.t (a text primary key)"), "insert into cdc.t values (E'q\"b\\\\s/\\n\\t\\x01\u00e9\ud83d\udc0e\\x7f')", "update cdc.t set a = 'plain'");
        run("tombstones off", Map.of("tombstones.on.delete", "false"), s("create table cdc.t (id int primary key)"), "insert into cdc.t values (1)", "update cdc.t set id = 2", "delete from cdc.t");
        run("skip u", Map.of("skipped.operations", "u"), s("create table cdc.t (id int primary key)"), "insert into cdc.t values (1)", "update cdc.t set id = 2", "delete from cdc.t");
        run("skip d", Map.of("skipped.operations", "d"), s("create table cdc.t (id int primary key)"), "insert into cdc.t values (1)", "update cdc.t set id = 2", "delete from cdc.t");
        run("skip c", Map.of("skipped.operations", "c"), s("create table cdc.t (id int primary key)"), "insert into cdc.t values (1)", "update cdc.t set id = 2", "delete from cdc.t", "insert into public.done values (0) on conflict do nothing", "delete from public.done");
        run("skip unchanged", Map.of("skip.messages.without.change", "true", "column.exclude.list", "cdc.t.secret"), s("create table cdc.t (id int primary key, name text, secret text)", "alter table cdc.t replica identity full"),
            "insert into cdc.t values (1, 'a', 'b')", "update cdc.t set secret = 'c'", "update cdc.t set name = 'b'", "update cdc.t set name = 'b'", "delete from cdc.t");
        run("columns out", Map.of("column.exclude.list", "cdc.t.secret,cdc.t.id"), s("create table cdc.t (id int primary key, name text, secret text)"), "insert into cdc.t values (1, 'a', 'b')", "update cdc.t set id = 2", "delete from cdc.t");
        String masked = "create table cdc.t (id int primary key, a text, b varchar(20) not null, c char(5))";
        String[] rows = s("insert into cdc.t values (1, 'gr\u00fc\u00dfe \ud83d\udc0e!', 'bbbbbbbbbb', 'ccc')", "insert into cdc.t values (2, null, '', null)", "update cdc.t set id = 3 where id = 2", "delete from cdc.t");
        run("mask", Map.of("column.mask.with.4.chars", "cdc.t.(a|b|c)"), s(masked), rows);
        run("truncate", Map.of("column.truncate.to.7.chars", "cdc.t.(a|b|c)"), s(masked), rows);
        run("hash", Map.of("column.mask.hash.v2.SHA-256.with.salt.Nacl", "cdc.t.(a|b|c)"), s(masked), rows);
        run("hash of a short column", Map.of("column.mask.hash.v2.SHA-512.with.salt.Nacl", "cdc.t.(a|b)"), s(masked), rows);
        String[] others = s("create table cdc.t (id int primary key, d json, e int, u uuid, x text[])");
        String other = "insert into cdc.t values (1, '{\"a\": 1}', 5, '00000000-0000-0000-0000-000000000001', '{aaaaaa}')";
        run("mask of other types", Map.of("column.mask.with.4.chars", "cdc.t.(d|e|u|x)"), others, other);
        run("truncate other types", Map.of("column.truncate.to.4.chars", "cdc.t.(d|e|u|x)"), others, other);
        run("hash of other types", Map.of("column.mask.hash.v2.SHA-256.with.salt.Nacl", "cdc.t.(d|e|u|x)"), others, other);
        run("hash of a key", Map.of("column.mask.hash.v2.SHA-256.with.salt.Nacl", "cdc.t.a"), s("create table cdc.t (a text primary key)"), "insert into cdc.t values ('x')");
        run("mask toast", Map.of("column.mask.hash.v2.SHA-256.with.salt.Nacl", "cdc.t.big", "column.truncate.to.7.chars", "cdc.t.long"), s("create table cdc.t (id int primary key, big text, long text, n int)", "alter table cdc.t alter big set storage external, alter long set storage external"), "insert into cdc.t values (1, " + LONG + ", " + LONG + ", 1)", "update cdc.t set n = 2");
        run("key columns", Map.of("message.key.columns", "cdc.t:name,n"), s("create table cdc.t " + ROWS, "alter table cdc.t replica identity full"), changes("cdc.t"));
        run("key columns in another order", Map.of("message.key.columns", "cdc.t:n,name"), s("create table cdc.t " + ROWS, "alter table cdc.t replica identity full"), changes("cdc.t"));
        run("key columns default", Map.of("message.key.columns", "cdc.t:name"), s("create table cdc.t " + ROWS), changes("cdc.t"));
        run("transactions", Map.of("provide.transaction.metadata", "true"), s("create table cdc.t (id int primary key, name text)", "create table cdc.u (id int primary key)", "insert into cdc.u values (7)"),
            "begin; insert into cdc.t values (1, 'a'), (2, 'b'); insert into cdc.u values (1); update cdc.t set id = 3 where id = 1; delete from cdc.t where id = 2; truncate cdc.u; select pg_logical_emit_message(true, 'p', 'x'); commit", "update cdc.t set name = 'c'", "select pg_logical_emit_message(false, 'p', 'x')", "create table cdc.other (id int)");
        run("transactions skipped", Map.of("provide.transaction.metadata", "true", "skipped.operations", "d,t", "table.exclude.list", "cdc.u"), s("create table cdc.t (id int primary key, name text)", "create table cdc.u (id int primary key)"),
            "begin; insert into cdc.t values (1, 'a'), (2, 'b'); insert into cdc.u values (1); delete from cdc.t where id = 2; update cdc.t set id = 3 where id = 1; truncate cdc.u; commit", "insert into cdc.u values (2)");
        String[] many = "users,orders,order_items,likes,posts,comments,follows,a,b,Aa,BB,payments,inventory,audit".split(",");
        List<String> create = new ArrayList<>(), insert = new ArrayList<>();
        for (String table : many) { create.add("create table cdc.\"" + table + "\" (id int)"); insert.add("insert into cdc.\"" + table + "\" values (1)"); }
        run("transaction over tables", Map.of("provide.transaction.metadata", "true"), create.toArray(new String[0]), "begin; " + String.join("; ", insert) + "; commit", "begin; " + String.join("; ", insert.subList(0, 9)) + "; commit");
        run("context off", Map.of("extended.headers.enabled", "false"), s("create table cdc.t (id int primary key)"), "insert into cdc.t values (1)", "update cdc.t set id = 2");
        run("snapshot", none, s("create table cdc.a (id int primary key)", "create table cdc.b (id int primary key)", "create table cdc.c (id int primary key)", "insert into cdc.a values (1), (2), (3)", "insert into cdc.b values (1)", "insert into cdc.c values (1), (2)"));
        run("incremental snapshot", Map.of("signal.data.collection", "cdc.signals", "snapshot.mode", "no_data"), s("create table cdc.signals (id text primary key, type text, data text)", "create table cdc.t (id int primary key)", "insert into cdc.t values (1), (2)"),
            "insert into cdc.signals values ('1', 'execute-snapshot', '{\"type\": \"incremental\", \"data-collections\": [\"cdc.t\"]}')", "select pg_sleep(3)");
        run("xmin", Map.of("xmin.fetch.interval.ms", "1"), s("create table cdc.t (id int primary key)"), "insert into cdc.t values (1)");
        run("origin", none, s("create table cdc.t (id int primary key)"), "select pg_replication_origin_drop(roname) from pg_replication_origin", "select pg_replication_origin_create('else\"where')",
            "select pg_replication_origin_session_setup('else\"where'); begin; select pg_replication_origin_xact_setup('0/123456', now()); insert into cdc.t values (1); commit; select pg_replication_origin_session_reset()", "insert into cdc.t values (2)");
        System.exit(0);
    }
}
