-- Included by tests of rendering.  Each of "cases" gets a table of one column,
-- which is key, tenant and data; "rendered" shows what came of it.
CREATE TABLE cases (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text, value text);
CREATE TABLE judged (n int PRIMARY KEY, data jsonb);
CREATE FUNCTION pg_temp.capture_cases() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c cases;
BEGIN
	FOR c IN SELECT * FROM cases ORDER BY n LOOP
		EXECUTE format('CREATE TABLE public.case_%s (k %s NOT NULL)', c.n, c.type);
		PERFORM evpub.capture_table(('public.case_' || c.n)::regclass, topic => 'v',
			tenant_column => 'k', key_columns => '{k}', key => '{pk}',
			type => '{table}', payload => 'row');
	END LOOP;
END $$;
CREATE FUNCTION pg_temp.insert_cases() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c cases;
BEGIN
	FOR c IN SELECT * FROM cases ORDER BY n LOOP
		EXECUTE format('INSERT INTO public.case_%s VALUES (%L)', c.n, c.value);
	END LOOP;
END $$;
-- what to_jsonb() says of the rows, under the settings that events have
CREATE FUNCTION pg_temp.judge() RETURNS void LANGUAGE plpgsql
	SET DateStyle = 'ISO' SET TimeZone = 'UTC' SET IntervalStyle = 'postgres'
	SET extra_float_digits = 1 SET bytea_output = 'hex'
	SET quote_all_identifiers = off SET search_path = 'pg_catalog, pg_temp' AS $$
BEGIN
	FOR i IN 1 .. (SELECT max(n) FROM public.cases) LOOP
		EXECUTE format('INSERT INTO public.judged SELECT %1$s, to_jsonb(t) FROM public.case_%1$s t', i);
	END LOOP;
END $$;
CREATE FUNCTION pg_temp.rendered(since pg_lsn)
RETURNS TABLE (n int, type text, key text, pk text, data text, tenant_is_pk bool, pk_is_data bool, data_is_to_jsonb bool)
LANGUAGE sql AS $$
SELECT c.n, c.type, e.key,
       substring(e.value FROM '"pk":\{"k":(.*)\},"lsn":'),
       substring(e.value FROM ',"data":\{"k":(.*)\}\}$'),
       -- the text of a string, or the JSON
       e.value::jsonb ->> 'tenant' = CASE jsonb_typeof(e.value::jsonb #> '{pk,k}')
         WHEN 'string' THEN e.value::jsonb #>> '{pk,k}' ELSE substring(e.value FROM '"pk":\{"k":(.*)\},"lsn":') END,
       substring(e.value FROM '"pk":\{"k":(.*)\},"lsn":') = substring(e.value FROM ',"data":\{"k":(.*)\}\}$'),
       e.value::jsonb -> 'data' = j.data
  FROM pg_temp.events(since) e JOIN cases c ON e.n + 1 = c.n JOIN judged j ON j.n = c.n
 ORDER BY c.n
$$;
