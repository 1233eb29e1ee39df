package org.example.hr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

import com.sun.net.httpserver.HttpServer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What an answer over HTTP means: a row, no row, an outage, or a fault of the event. */
class HttpSourceTest {
	private HttpServer server;
	private HttpSource source;
	private int status;
	private String body;
	private String asked;

	@BeforeEach
	void start() throws IOException {
		server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
		server.createContext("/", exchange -> {
			asked = exchange.getRequestURI().toString();
			byte[] answer = body.getBytes(StandardCharsets.UTF_8);
			exchange.getResponseHeaders().set("Content-Type", body.startsWith("<") ? "text/html" : "application/json");
			exchange.sendResponseHeaders(status, answer.length);
			exchange.getResponseBody().write(answer);
			exchange.close();
		});
		server.start();
		source = new HttpSource("http://127.0.0.1:" + server.getAddress().getPort());
	}

	@AfterEach
	void stop() {
		server.stop(0);
	}

	private void answers(int status, String body) {
		this.status = status;
		this.body = body;
	}

	@Test
	void aRowIsARow() {
		answers(200, "{\"id\": 9007199254740993, \"name\": \"m\", \"organization\": {\"id\": 7, \"name\": \"o\"}, \"new\": 1}");
		assertEquals(Optional.of(new Source.Member("a/b c", 9007199254740993L, 7, "m")), source.member("a/b c", 9007199254740993L));
		assertEquals("/tenants/a%2Fb%20c/members/9007199254740993", asked);
		answers(200, "{\"id\": 7, \"name\": null}");
		assertEquals(Optional.of(new Source.Organization("acme", 7, null)), source.organization("acme", 7));
	}

	@Test
	void theServiceSaysThatThereIsNoRow() {
		answers(404, "{\"row\": null}");
		assertEquals(Optional.empty(), source.organization("acme", 7));
	}

	@ParameterizedTest
	@CsvSource(delimiter = '|', value = {
		"404 | <html>no such route</html>", "404 | {\"error\": \"no such route\"}", "401 | {}", "500 | {}", "503 | {}",
		"200 | <html>please log in</html>"
	})
	void somethingElseIsAnOutage(int status, String body) {
		answers(status, body);
		var exception = assertThrows(RuntimeException.class, () -> source.organization("acme", 7));
		assertTrue(HrConfiguration.isOutage(new IllegalStateException(exception)), exception.toString());
	}

	@Test
	void nobodyThereIsAnOutage() {
		server.stop(0);
		var exception = assertThrows(RuntimeException.class, () -> source.organization("acme", 7));
		assertTrue(HrConfiguration.isOutage(exception), exception.toString());
	}

	@Test
	void whatTheServiceDoesNotUnderstandIsTheEventsFault() {
		answers(400, "{\"error\": \"id\"}");
		var exception = assertThrows(RuntimeException.class, () -> source.organization("acme", 7));
		assertFalse(HrConfiguration.isOutage(exception));
	}
}
