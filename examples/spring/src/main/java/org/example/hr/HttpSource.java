package org.example.hr;

import java.time.Duration;
import java.util.Optional;

import org.springframework.http.client.JdkClientHttpRequestFactory;
import org.springframework.web.client.HttpClientErrorException;
import org.springframework.web.client.RestClient;
import org.springframework.web.client.RestClientException;

/** From the service that owns the rows, examples/cms. */
public class HttpSource implements Source {
	private final RestClient cms;

	public HttpSource(String url) {
		var requests = new JdkClientHttpRequestFactory();
		requests.setReadTimeout(Duration.ofSeconds(10));
		cms = RestClient.builder().baseUrl(url).requestFactory(requests).build();
	}

	/** Rows as the service shows them. */
	private record OrganizationRow(long id, String name) {
	}

	private record MemberRow(long id, String name, OrganizationRow organization) {
	}

	@Override
	public Optional<Organization> organization(String tenant, long id) {
		return get(OrganizationRow.class, "/tenants/{tenant}/organizations/{id}", tenant, id)
				.map(row -> new Organization(tenant, id, row.name()));
	}

	@Override
	public Optional<Member> member(String tenant, long id) {
		return get(MemberRow.class, "/tenants/{tenant}/members/{id}", tenant, id)
				.map(row -> new Member(tenant, id, row.organization().id(), row.name()));
	}

	/**
	 * Only the service's own words mean that there is no row.  A 404 of something else on
	 * the way would delete rows when a route is wrong: it is an error, and tried again.
	 */
	private <T> Optional<T> get(Class<T> type, String path, Object... values) {
		try {
			return Optional.of(cms.get().uri(path, values).retrieve().requiredBody(type));
		}
		catch (HttpClientErrorException.NotFound e) {
			if (e.getResponseBodyAsString().replaceAll("\\s", "").equals("{\"row\":null}"))
				return Optional.empty();
			throw e;
		}
	}

	/** No fault of the event, but for a request that the service does not understand. */
	static boolean isOutage(Throwable exception) {
		return exception instanceof RestClientException
				&& !(exception instanceof HttpClientErrorException.BadRequest);
	}
}
