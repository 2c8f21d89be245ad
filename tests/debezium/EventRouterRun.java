/*
 * Prints what Debezium's own outbox event router and Kafka Connect's own converters make of rows: the evidence behind the tables of
 * docs/debezium.md. It needs JDK 17 and Maven, no database and no broker:
 *
 *   mvn -f tests/debezium/pom.xml dependency:copy-dependencies -DoutputDirectory=libs
 *   javac -cp 'tests/debezium/libs/*' -d tests/debezium/out tests/debezium/EventRouterRun.java
 *   java -cp 'tests/debezium/out:tests/debezium/libs/*' EventRouterRun
 */
import io.debezium.data.Envelope;
import io.debezium.transforms.outbox.EventRouter;
import org.apache.kafka.connect.data.*;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.*;
import org.apache.kafka.connect.header.Header;
import java.util.*;
import java.nio.charset.StandardCharsets;

public class EventRouterRun {
    static String show(byte[] b) { if (b == null) return "<null>"; return new String(b, StandardCharsets.UTF_8); }

    static SourceRecord record(Object[][] cols, String op) {
        SchemaBuilder b = SchemaBuilder.struct().name("p.public.outbox.Value").optional();
        for (Object[] c : cols) b.field((String) c[0], (Schema) c[1]);
        Schema row = b.build();
        Schema source = SchemaBuilder.struct().name("source").field("schema", Schema.OPTIONAL_STRING_SCHEMA).field("ts_ms", Schema.OPTIONAL_INT64_SCHEMA).build();
        Envelope env = Envelope.defineSchema().withName("p.public.outbox.Envelope").withRecord(row).withSource(source).build();
        Struct s = new Struct(row);
        for (Object[] c : cols) s.put((String) c[0], c[2]);
        Struct src = new Struct(source).put("schema", "public");
        java.time.Instant ts = java.time.Instant.ofEpochMilli(1700000000123L);
        Struct v = op.equals("c") ? env.create(s, src, ts) : op.equals("r") ? env.read(s, src, ts) : op.equals("d") ? env.delete(s, src, ts) : env.update(s, s, src, ts);
        return new SourceRecord(new HashMap<>(), new HashMap<>(), "p.public.outbox", null, null, env.schema(), v);
    }
    static Schema uuid = io.debezium.data.Uuid.schema();
    static Schema json = io.debezium.data.Json.builder().optional().build();
    static Schema str = Schema.STRING_SCHEMA, ostr = Schema.OPTIONAL_STRING_SCHEMA;

    static void run(String title, Map<String, String> cfg, Object[][] cols, String keyConv, String valConv, String headConv) {
        run(title, cfg, cols, keyConv, valConv, headConv, "c");
    }
    static Converter conv(String c, boolean key) throws Exception {
        Map<String, String> o = new HashMap<>();
        o.put("schemas.enable", c.equals("json-schema") ? "true" : "false");
        Converter k = switch (c) {
            case "string" -> new StringConverter();
            case "binary" -> (Converter) Class.forName("io.debezium.converters.BinaryDataConverter").getDeclaredConstructor().newInstance();
            case "bytearray" -> (Converter) Class.forName("org.apache.kafka.connect.converters.ByteArrayConverter").getDeclaredConstructor().newInstance();
            default -> new org.apache.kafka.connect.json.JsonConverter();
        };
        k.configure(o, key);
        return k;
    }
    static void run(String title, Map<String, String> cfg, Object[][] cols, String keyConv, String valConv, String headConv, String op) {
        System.out.println("## " + title + "  [key=" + keyConv + " value=" + valConv + " header=" + headConv + "] " + cfg);
        EventRouter<SourceRecord> r = new EventRouter<>();
        try {
            r.configure(cfg);
            SourceRecord in = record(cols, op);
            SourceRecord out = r.apply(in);
            if (out == null) { System.out.println("   dropped"); return; }
            System.out.println("   topic=" + out.topic() + " partition=" + out.kafkaPartition() + " ts=" + out.timestamp());
            System.out.println("   key=" + show(conv(keyConv, true).fromConnectData(out.topic(), out.keySchema(), out.key())));
            HeaderConverter hc = headConv.equals("simple") ? new SimpleHeaderConverter() : headConv.equals("string") ? new StringConverter() : new org.apache.kafka.connect.json.JsonConverter();
            Map<String,String> o = new HashMap<>(); o.put("schemas.enable", headConv.equals("json-schema") ? "true" : "false"); o.put("converter.type","header");
            hc.configure(o);
            for (Header h : out.headers()) System.out.println("   header " + h.key() + "=" + show(hc.fromConnectHeader(out.topic(), h.key(), h.schema(), h.value())));
            System.out.println("   value=" + show(conv(valConv, false).fromConnectData(out.topic(), out.valueSchema(), out.value())));
        } catch (Throwable t) { System.out.println("   DIES " + t.getClass().getSimpleName() + ": " + String.valueOf(t.getMessage()).replace("\n"," ") + (t.getCause()!=null? " / "+t.getCause():"")); }
    }
    static Object[][] base(Object payload, Object[]... more) {
        List<Object[]> l = new ArrayList<>();
        l.add(new Object[]{"id", uuid, "018f-id"});
        l.add(new Object[]{"aggregatetype", str, "Order"});
        l.add(new Object[]{"aggregateid", str, "4\"2"});
        l.add(new Object[]{"type", str, "OrderCreated"});
        l.add(new Object[]{"payload", json, payload});
        for (Object[] m : more) l.add(m);
        return l.toArray(new Object[0][]);
    }
    static Object[][] with(Object[][] cols, String name, Schema s, Object v) {
        Object[][] c = cols.clone();
        for (int i = 0; i < c.length; i++) if (c[i][0].equals(name)) c[i] = new Object[]{name, s, v};
        return c;
    }
    static Map<String, String> m(String... kv) { Map<String, String> m = new LinkedHashMap<>(); for (int i = 0; i < kv.length; i += 2) m.put(kv[i], kv[i + 1]); return m; }

    public static void main(String[] a) throws Exception {
        String P = "{\"id\": 1, \"none\": null, \"empty\": [], \"t\": 1.10}";
        run("default", m(), base(P), "string", "string", "simple");
        run("default", m(), base(P), "json", "json", "json");
        run("default", m(), base(P), "json-schema", "json-schema", "json-schema");
        run("escapes", m(), base("\"a\\b\u0001\u001f\t\n\r\f\b\u007f/é\u2028🐎<>&'"), "json", "json", "simple");
        run("null payload", m(), base(null), "string", "string", "simple");
        run("null payload", m(), base(null), "json", "json", "simple");
        run("null payload", m(), base(null), "json-schema", "json-schema", "simple");
        run("null payload binary", m(), base(null), "string", "binary", "simple");
        run("null payload tombstone", m("route.tombstone.on.empty.payload","true"), base(null), "json", "json", "simple");
        run("null payload tombstone js", m("route.tombstone.on.empty.payload","true"), base(null), "json-schema", "json-schema", "simple");
        run("empty text payload tombstone", m("route.tombstone.on.empty.payload","true"), with(base(""),"payload",ostr,""), "json", "json", "simple");
        run("blank text payload tombstone", m("route.tombstone.on.empty.payload","true"), with(base(""),"payload",ostr,"  "), "json", "json", "simple");
        run("bytea payload", m(), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{0,(byte)255,65})), "json", "json", "simple");
        run("bytea payload js", m(), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{0,(byte)255,65})), "json", "json-schema", "simple");
        run("bytea payload bin", m(), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{65,66})), "string", "binary", "simple");
        run("bytea payload bytearray", m(), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{65,66})), "string", "bytearray", "simple");
        run("bytea payload bytearray byte[]", m(), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, new byte[]{65,66}), "string", "bytearray", "simple");
        run("bytea payload string", m(), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{65,66})), "string", "string", "simple");
        run("jsonb payload binary", m(), base("{}"), "string", "binary", "simple");
        run("jsonb payload bytearray", m(), base("{}"), "string", "bytearray", "simple");
        run("null key", m(), with(base("{}"),"aggregateid",ostr,null), "json", "json", "simple");
        run("null key", m(), with(base("{}"),"aggregateid",ostr,null), "json-schema", "json", "simple");
        run("null key str", m(), with(base("{}"),"aggregateid",ostr,null), "string", "json", "simple");
        run("int key", m(), with(base("{}"),"aggregateid",Schema.INT64_SCHEMA,42L), "json", "string", "simple");
        run("int key", m(), with(base("{}"),"aggregateid",Schema.INT64_SCHEMA,42L), "json-schema", "string", "simple");
        run("int key", m(), with(base("{}"),"aggregateid",Schema.INT32_SCHEMA,42), "string", "string", "simple");
        run("null type col", m(), with(base("{}"),"aggregatetype",ostr,null), "string", "string", "simple");
        run("empty route", m(), with(base("{}"),"aggregatetype",ostr,""), "string", "string", "simple");
        run("null id", m(), with(base("{}"),"id",ostr,null), "string", "string", "simple");
        run("int route", m(), with(base("{}"),"aggregatetype",Schema.INT32_SCHEMA,7), "string", "string", "simple");
        run("regex no match", m("route.topic.regex","x(.*)","route.topic.replacement","y.$1"), base("{}"), "string", "string", "simple");
        run("regex partial", m("route.topic.regex","Ord","route.topic.replacement","y"), base("{}"), "string", "string", "simple");
        run("regex groups", m("route.topic.regex","(O)(?<rest>.*)","route.topic.replacement","$1-${rest}-\\$$10"), base("{}"), "string", "string", "simple");
        run("placement headers", m("table.fields.additional.placement","type:header:eventType,type:header,n:header,b:header,bool:header,nul:header"), base("{}", new Object[]{"n", Schema.INT32_SCHEMA, 5}, new Object[]{"b", Schema.BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{65,66})}, new Object[]{"bool", Schema.BOOLEAN_SCHEMA, true}, new Object[]{"nul", ostr, null}), "string", "string", "simple");
        run("placement headers json", m("table.fields.additional.placement","type:header:eventType,n:header,b:header,bool:header,nul:header"), base("{}", new Object[]{"n", Schema.INT32_SCHEMA, 5}, new Object[]{"b", Schema.BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{65,66})}, new Object[]{"bool", Schema.BOOLEAN_SCHEMA, true}, new Object[]{"nul", ostr, null}), "string", "string", "json");
        run("placement headers string", m("table.fields.additional.placement","type:header:eventType,n:header,bool:header,nul:header"), base("{}", new Object[]{"n", Schema.INT32_SCHEMA, 5}, new Object[]{"bool", Schema.BOOLEAN_SCHEMA, true}, new Object[]{"nul", ostr, null}), "string", "string", "string");
        run("placement headers js", m("table.fields.additional.placement","type:header:eventType,n:header,nul:header"), base("{}", new Object[]{"n", Schema.INT32_SCHEMA, 5}, new Object[]{"nul", ostr, null}), "string", "string", "json-schema");
        Object[] n = {"n", Schema.INT32_SCHEMA, 5}, nul = {"nul", ostr, null}, bool = {"bool", Schema.BOOLEAN_SCHEMA, true};
        run("envelope", m("table.fields.additional.placement","type:envelope:eventType,n:envelope,nul:envelope,bool:envelope,id:envelope"), base(P, n, nul, bool), "string", "json", "simple");
        run("envelope js", m("table.fields.additional.placement","type:envelope:eventType,n:envelope,nul:envelope,id:envelope"), base(P, n, nul, bool), "string", "json-schema", "simple");
        run("envelope js versioned", m("table.field.event.schema.version","n","table.fields.additional.placement","type:envelope:eventType"), base(P, n, nul, bool), "string", "json-schema", "simple");
        run("js versioned no envelope", m("table.field.event.schema.version","n"), base(P, n, nul, bool), "string", "json-schema", "simple");
        run("envelope string", m("table.fields.additional.placement","type:envelope:eventType,nul:envelope"), base(P, n, nul, bool), "string", "string", "simple");
        run("envelope null payload", m("table.fields.additional.placement","type:envelope:eventType"), base(null), "string", "json", "simple");
        run("envelope null payload tomb", m("table.fields.additional.placement","type:envelope:eventType","route.tombstone.on.empty.payload","true"), base(null), "string", "json", "simple");
        run("envelope expand", m("table.fields.additional.placement","type:envelope:eventType","table.expand.json.payload","true"), base(P), "string", "json", "simple");
        run("envelope bytes", m("table.fields.additional.placement","type:envelope:eventType"), with(base(null),"payload",Schema.OPTIONAL_BYTES_SCHEMA, java.nio.ByteBuffer.wrap(new byte[]{65,66})), "string", "json", "simple");
        run("partition", m("table.fields.additional.placement","n:partition"), base("{}", n), "string", "string", "simple");
        run("partition str", m("table.fields.additional.placement","type:partition"), base("{}", n), "string", "string", "simple");
        run("partition null", m("table.fields.additional.placement","nul:partition"), base("{}", new Object[]{"nul", Schema.OPTIONAL_INT32_SCHEMA, null}), "string", "string", "simple");
        run("missing additional", m("table.fields.additional.placement","zz:header"), base("{}"), "string", "string", "simple");
        run("missing additional ignored", m("table.fields.additional.placement","zz:header,zy:envelope,zx:partition","table.field.additional.missing","ignore"), base("{}"), "string", "string", "simple");
        run("timestamp ms", m("table.field.event.timestamp","at"), base("{}", new Object[]{"at", io.debezium.time.Timestamp.schema(), 1600000000456L}), "string", "string", "simple");
        run("timestamp us", m("table.field.event.timestamp","at"), base("{}", new Object[]{"at", io.debezium.time.MicroTimestamp.schema(), 1600000000456789L}), "string", "string", "simple");
        run("timestamp tz", m("table.field.event.timestamp","at"), base("{}", new Object[]{"at", io.debezium.time.ZonedTimestamp.schema(), "2020-01-01T00:00:00Z"}), "string", "string", "simple");
        run("timestamp int8", m("table.field.event.timestamp","at"), base("{}", new Object[]{"at", Schema.INT64_SCHEMA, 1600000000456L}), "string", "string", "simple");
        run("timestamp null", m("table.field.event.timestamp","at"), base("{}", new Object[]{"at", io.debezium.time.MicroTimestamp.builder().optional().build(), null}), "string", "string", "simple");
        run("update", m(), base("{}"), "string", "string", "simple", "u");
        run("delete", m(), base("{}"), "string", "string", "simple", "d");
        run("snapshot", m(), base("{}"), "string", "string", "simple", "r");
        run("missing payload col", m("table.field.event.payload","zz"), base("{}"), "string", "string", "simple");
        run("missing key col", m("table.field.event.key","zz"), base("{}"), "string", "string", "simple");
        run("missing type col", m("table.field.event.type","zz"), base("{}"), "string", "string", "simple");
        String[] payloads = {
            P, "{\"a\":1}", "{}", "[]", "[1, 2]", "[1, 2.5]", "[{\"a\": 1}, {\"b\": 2}]", "\"text\"", "5", "1.5", "true", "null", "not json", "",
            "{\"lines\": [{\"price\": 10}, {\"price\": 10.5}]}", "{\"l\": [{\"a\": {\"x\": 1}}, {\"a\": {\"y\": 2}}]}",
            "{\"n\": 9223372036854775808}", "{\"n\": 9223372036854775807}", "{\"n\": 2147483648}", "{\"n\": 12345678901234567.89}", "{\"n\": 12345678.5}", "{\"n\": 0.00001}", "{\"n\": 10.50}", "{\"n\": 1.0}", "{\"n\": 100}", "{\"n\": -0.0}",
            "{\"a-b\": 1, \"z\": 1, \"c\": \"é \\u00e9 \\\" \\n /\"}", "{\"o\": {\"n\": null}}", "{\"o\": {\"e\": []}}", "{\"a\": [null, 1]}", "{\"a\": [null]}", "{\"a\": [[1], [2]]}", "{\"a\": [[], [2]]}", "{\"a\": [\"x\", 1]}", "{\"a\": [1, \"x\"]}", "{\"a\": [{}, {\"x\": 1}]}", "{\"a\":[{\"x\": null}, {\"x\": 1}]}", "{\"o\": {}}", "{\"a\": [[]]}",  "{\"a\": [true, 1]}", "{\"a\": [1, 2147483648]}", "{\"a\": [1, null]}",
            "{\"b\": 1, \"a\": 2, \"b\": 3}", "{\"\": 1}", "{\"k\": \"\\u0000\"}" };
        for (String p : payloads) {
            run("expand " + p, m("table.expand.json.payload","true"), base(p), "string", "json", "simple");
        }
        run("expand string conv", m("table.expand.json.payload","true"), base(P), "string", "string", "simple");
        run("expand js", m("table.expand.json.payload","true"), base("{\"id\": 1, \"s\": \"x\"}"), "string", "json-schema", "simple");
        run("expand keep null", m("table.expand.json.payload","true","table.json.payload.null.behavior","optional_bytes"), base(P), "string", "json", "simple");
        run("expand keep null arr", m("table.expand.json.payload","true","table.json.payload.null.behavior","optional_bytes"), base("{\"a\": [null, 1], \"b\": [null], \"o\": {\"n\": null}}"), "string", "json", "simple");
        run("expand keep arr", m("table.expand.json.payload","true","table.json.payload.empty.array.behavior","optional_string"), base(P), "string", "json", "simple");
        run("expand null payload", m("table.expand.json.payload","true"), base(null), "string", "json", "simple");
        run("expand avro", m("table.expand.json.payload","true","field.name.adjustment.mode","avro"), base("{\"a-b\": 1}"), "string", "json", "simple");
        run("expand text col", m("table.expand.json.payload","true"), with(base(""),"payload",ostr,"{\"a\": 1}"), "string", "json", "simple");
        run("uuid key json-schema", m("table.field.event.key","id"), base("{}"), "json-schema", "string", "simple");
        run("bool/int2 headers", m("table.fields.additional.placement","s:header,f:header"), base("{}", new Object[]{"s", Schema.INT16_SCHEMA, (short)3}, new Object[]{"f", Schema.FLOAT64_SCHEMA, 1.5d}), "string", "string", "simple");
    }
}
