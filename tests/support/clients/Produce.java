import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends records by the Java client: brokers and topic as arguments, a JSON object of compression to records on standard input. */
public final class Produce {
  public static void main(String[] arguments) throws Exception {
    Map<String, JsonNode> byCompression = new java.util.LinkedHashMap<>();
    new ObjectMapper().readTree(System.in).fields().forEachRemaining(one -> byCompression.put(one.getKey(), one.getValue()));
    for (Map.Entry<String, JsonNode> entry : byCompression.entrySet()) {
      // Long enough that records share a batch: compression is of batches.
      Map<String, Object> settings =
          Map.of("bootstrap.servers", arguments[0], "compression.type", entry.getKey(), "linger.ms", 200, "batch.size", 500_000);
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
        for (JsonNode record : entry.getValue()) {
          byte[] value = Base64.getDecoder().decode(record.get("value").asText());
          var outgoing =
              new ProducerRecord<String, byte[]>(arguments[1], record.get("partition").asInt(), record.get("key").asText(), value);
          for (JsonNode header : record.get("headers")) {
            byte[] text = header.get(1).isNull() ? null : header.get(1).asText().getBytes(StandardCharsets.UTF_8);
            outgoing.headers().add(header.get(0).asText(), text);
          }
          sent.add(producer.send(outgoing));
        }
      }
      for (Future<RecordMetadata> one : sent) one.get();
    }
  }
}
