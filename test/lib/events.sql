-- Included by tests: evpub, and events as text that is the same in every run.
--
-- pg_temp.events(since) shows what was committed after "since", in the order of
-- publishing; transactions are counted from 1; id, lsn and time are replaced
-- where they have the form that they should, and header evpub-id is left out
-- where it is the id.  pg_temp.brief(since) shows what differs from row to row.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS evpub;
CREATE FUNCTION pg_temp.events(since pg_lsn)
RETURNS TABLE (tx bigint, n bigint, topic text, key text, value text, headers jsonb)
LANGUAGE sql AS $$
SELECT dense_rank() OVER (ORDER BY commit_lsn),
       ('x' || right(id, 8))::bit(32)::bigint,
       topic,
       key,
       regexp_replace(regexp_replace(regexp_replace(value,
         '"id":"[0-9a-f]{16}-[0-9A-F]{8}-[0-9A-F]{16}-[0-9A-F]{8}"', '"id":"I"'),
         '"lsn":"[0-9A-F]{1,8}/[0-9A-F]{1,8}"', '"lsn":"L"'),
         '"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', '"time":"T"'),
       nullif(CASE WHEN headers ->> 'evpub-id' = id THEN headers - 'evpub-id'
              ELSE headers END, '{}')
  FROM evpub.peek(1000000, since)
 ORDER BY 1, 2
$$;
CREATE FUNCTION pg_temp.brief(since pg_lsn)
RETURNS TABLE (tx bigint, n bigint, type text, tenant text, pk jsonb, changed jsonb, data jsonb)
LANGUAGE sql AS $$
SELECT tx, n, v ->> 'type', v ->> 'tenant', v -> 'pk', v -> 'changed', v -> 'data'
  FROM (SELECT tx, n, value::jsonb AS v FROM pg_temp.events(since)) e
 ORDER BY 1, 2
$$;
RESET client_min_messages;
