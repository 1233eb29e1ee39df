-- Run in a database of each encoding by t/064_encodings.pl: captures a table
-- whose names are not ASCII, puts in every character that the encoding has, and
-- tries those that have no place in UTF-8.
SET client_min_messages = warning;
CREATE TABLE bytes AS
	SELECT decode(lpad(to_hex(a), 2, '0'), 'hex') AS b FROM generate_series(1, 255) a
	UNION ALL
	-- characters of two and three bytes; of four, as many again
	SELECT prefix || decode(to_hex(a) || to_hex(c), 'hex')
	  FROM generate_series(161, 254) a, generate_series(161, 254) c,
	       (VALUES ('\x'::bytea), ('\x8f'), ('\x8ea2')) p (prefix)
	 WHERE getdatabaseencoding() LIKE 'EUC%' AND (prefix <> '\x8f' OR getdatabaseencoding() IN ('EUC_JP', 'EUC_JIS_2004'))
	   AND (prefix <> '\x8ea2' OR getdatabaseencoding() = 'EUC_TW')
	UNION ALL
	SELECT '\x8e'::bytea || decode(to_hex(a), 'hex') FROM generate_series(161, 223) a
	 WHERE getdatabaseencoding() IN ('EUC_JP', 'EUC_JIS_2004')
	UNION ALL
	-- characters of UTF-8: it is what SQL_ASCII is most used for
	SELECT c FROM (VALUES ('\xc3a9'::bytea), ('\xed959c'), ('\xf09f9880')) c (c) WHERE getdatabaseencoding() IN ('UTF8', 'SQL_ASCII');

-- what comes of the bytes as text: a text, nothing, or nothing in UTF-8
CREATE FUNCTION character_of(b bytea, OUT c text, OUT valid bool, OUT utf8 bytea) LANGUAGE plpgsql AS $$
BEGIN
	valid := false;
	c := convert_from(b, getdatabaseencoding());
	valid := true;
	utf8 := CASE getdatabaseencoding() WHEN 'SQL_ASCII'
		THEN convert(b, 'UTF8', 'UTF8') ELSE convert_to(c, 'UTF8') END;
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
	-- utf8 stays NULL
END $$;
CREATE TABLE characters AS
	SELECT row_number() OVER (ORDER BY length(b), b) AS i, b, c, utf8 FROM bytes, character_of(b) WHERE valid;
SELECT 'characters=' || count(utf8) || ' refused=' || count(*) - count(utf8) FROM characters;

-- names of three characters that are not ASCII
SELECT string_agg(c, '') AS word
  FROM (SELECT c FROM characters WHERE utf8 IS NOT NULL AND get_byte(b, 0) > 160 ORDER BY i DESC LIMIT 3) w \gset
SELECT format('CREATE SCHEMA %1$I; CREATE TABLE %1$I.%1$I (%1$I text PRIMARY KEY); CREATE TYPE label AS ENUM (%1$L)', :'word') \gexec
SELECT evpub.capture_table(format('%1$I.%1$I', :'word'), topic => 'names', tenant => '{schema}', key => '{tenant}/{table}',
	type => '{table}.' || :'word', headers => jsonb_build_object(:'word', '{schema}')) \g /dev/null
SELECT format('INSERT INTO %1$I.%1$I VALUES (%1$L)', :'word') \gexec
SELECT evpub.publish(:'word', :'word', to_jsonb(:'word'::text), jsonb_build_object(:'word', :'word'), topic => 'names') \g /dev/null

CREATE TABLE t (k text PRIMARY KEY, v varchar, j json, jb jsonb, a text[], n name);
SELECT evpub.capture_table('t', topic => 'characters', tenant_column => 'k', key => '{pk}', type => '{database}', payload => 'row') \g /dev/null
INSERT INTO t SELECT k, k, to_json(k), to_jsonb(k), ARRAY[k], first
  FROM (SELECT min(i) AS n, string_agg(c, '' ORDER BY i) AS k, (array_agg(c ORDER BY i))[1] AS first FROM characters WHERE utf8 IS NOT NULL GROUP BY i / 100) c ORDER BY n;

-- what the events should say, from the bytes of UTF-8
COPY (SELECT current_database(), encode(string_agg(utf8, '' ORDER BY i), 'hex'), encode((array_agg(utf8 ORDER BY i))[1], 'hex')
        FROM characters WHERE utf8 IS NOT NULL GROUP BY i / 100 ORDER BY min(i)) TO STDOUT (FORMAT csv) \g :dump

-- nothing without a place in UTF-8 gets in, be it as key, in json, or as a name
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'was taken: ' || statement;
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character OR feature_not_supported THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(concat_ws(' ', nullif(detail, ''), hint), '"[^"]*"', '"?"');
END $$;
CREATE TABLE other (k int PRIMARY KEY, v text, j jsonb, e text[], js json);
SELECT evpub.capture_table('other', topic => 'other', tenant => 'x', payload => 'row') \g /dev/null
SELECT DISTINCT 'refusal: ' || refused(s)
  FROM characters, LATERAL (VALUES
	(format('INSERT INTO t (k) VALUES (%L)', c)),
	(format('INSERT INTO other (k, v) VALUES (1, %L)', c)),
	(format('INSERT INTO other (k, j) VALUES (1, to_jsonb(%L::text))', c)),
	(format('INSERT INTO other (k, e) VALUES (1, ARRAY[%L])', c)),
	(format('SELECT evpub.publish(%1$L, ''x'', topic => ''names'')', c)),
	(format('SELECT evpub.publish(''x'', ''x'', NULL, to_jsonb(%1$L::text), topic => ''names'')', c)),
	(format('CREATE TABLE %1$I (id int PRIMARY KEY); SELECT evpub.capture_table(quote_ident(%1$L), topic => ''names'', tenant => ''x'')', c))) s (s)
 WHERE utf8 IS NULL;
-- json may have escapes of what the encoding does not have: here of private use
SELECT 'escape: ' || refused('INSERT INTO other (k, js) VALUES (1, ''"\ue000"'')');
DELETE FROM other WHERE getdatabaseencoding() = 'UTF8';
SELECT 'left=' || count(*) FROM other;

-- headers of a setting are asked when it is set
CREATE FUNCTION extra(c text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('evpub.extra_headers', jsonb_build_object('a', c)::text, true);
	RETURN 'taken';
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN 'refused';
END $$;
SELECT DISTINCT 'extra ' || (utf8 IS NOT NULL) || ' ' || extra(c) FROM characters WHERE b <> '\x00';
-- a name in a message is in the encoding of the database
CREATE FUNCTION hint_of(table_name regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	PERFORM evpub.capture_table(table_name, topic => '{table}', tenant => 'x');
EXCEPTION WHEN invalid_name THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END $$;
SELECT 'named=' || (hint_of(format('%1$I.%1$I', :'word')::regclass) LIKE '%"' || :'word' || '".');
