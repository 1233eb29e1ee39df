/*
 * Reads lines "key <tab> JSON" and writes what Jackson made of the JSON, in
 * ASCII, line by line.  As strict as Jackson can be; ends with an error at the
 * first line that it does not take.  Run by "java -cp ... StrictJson.java".
 */
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;

public class StrictJson {
    public static void main(String[] args) throws Exception {
        ObjectMapper mapper = JsonMapper.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .enable(JsonWriteFeature.ESCAPE_NON_ASCII)
            .build();
        byte[] in = Files.readAllBytes(Path.of(args[0]));

        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(Path.of(args[1])))) {
            for (int start = 0, line = 1; start < in.length; line++) {
                int end = start;
                while (in[end] != '\n')
                    end++;
                while (in[start] != '\t')
                    start++;
                start++;
                try {
                    // from bytes, so that Jackson judges the UTF-8 as well
                    out.write(mapper.writeValueAsBytes(mapper.readTree(in, start, end - start)));
                } catch (Exception e) {
                    System.err.println("line " + line + ": " + e.getMessage());
                    System.exit(1);
                }
                out.write('\n');
                start = end + 1;
            }
        }
    }
}
