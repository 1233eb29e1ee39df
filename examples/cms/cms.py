#!/usr/bin/python3
"""The CMS of the story, as small as it can be: an HTTP service in front of the database
that evpub publishes from, where consumers read rows back.

    cms.py --database DSN [--port 8080]

GET /tenants/acme/organizations/7       200 {"id": 7, "name": "..."}
GET /tenants/acme/members/42            200 {"id": 42, "name": "...", "organization": {"id": 7, "name": "..."}}
    404 {"row": null} when there is none; any other 404 is not of this service, and no row
GET /tenants/acme/members?ids=1,2,3     200 [1, 3]: those that are there
POST /resync {"organization": ["acme"]} 204: publishes all rows anew, and marks of these
                                        tenants also where they have no row any more

It reads the primary, where a row is visible when its event arrives.  In front of a
replica it would wait by evpub.wait_replayed().  Nothing on the way may keep answers.
"""
import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg

TABLES = {"organizations": "organization", "members": "member"}
ROW = {
    "organization": """
        SELECT jsonb_build_object('id', id, 'name', name)
        FROM organization WHERE (tenant_id, id) = (%s, %s)""",
    # with its organization, as of the same moment
    "member": """
        SELECT jsonb_build_object('id', m.id, 'name', m.name, 'organization',
            jsonb_build_object('id', o.id, 'name', o.name))
        FROM member m JOIN organization o ON (o.tenant_id, o.id) = (m.tenant_id, m.organization_id)
        WHERE (m.tenant_id, m.id) = (%s, %s)"""}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"           # a connection serves many requests
    disable_nagle_algorithm = True
    local = threading.local()
    dsn = None

    def query(self, sql, values=()):
        """A thread has a connection of its own, made anew after an error."""
        if getattr(self.local, "db", None) is None:
            self.local.db = psycopg.connect(self.dsn, autocommit=True)
        try:
            return self.local.db.execute(sql, values)
        except psycopg.Error:
            self.local.db.close()
            self.local.db = None
            raise

    def answer(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def get(self):
        url = urlsplit(self.path)
        _, tenants, tenant, rows, *id = map(unquote, url.path.split("/"))
        if tenants != "tenants" or rows not in TABLES:
            raise ValueError(url.path)
        table = TABLES[rows]
        if id:
            found = self.query(ROW[table], (tenant, int(id[0]))).fetchone()
            return (200, found[0]) if found else (404, {"row": None})
        ids = [int(id) for id in parse_qs(url.query)["ids"][0].split(",")]
        found = self.query(f"SELECT id FROM {table} WHERE tenant_id = %s AND id = ANY(%s) ORDER BY id", (tenant, ids))
        return 200, [id for id, in found]

    def resync(self):
        named = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tables = list(TABLES.values())      # parents first
        tenants = {tenant for some in named.values() for tenant in some}
        for table in tables:
            tenants.update(tenant for tenant, in self.query(f"SELECT DISTINCT tenant_id FROM {table}"))
        for tenant in sorted(tenants):
            self.query("CALL evpub.resync(%s::regclass[], tenant => %s)", (tables, tenant))
        return 204, None

    def serve(self, what):
        try:
            self.answer(*what())
        except psycopg.Error as error:
            self.answer(503, {"error": str(error)})
        except (KeyError, ValueError) as error:
            self.answer(400, {"error": str(error)})

    def do_GET(self):
        self.serve(self.get)

    def do_POST(self):
        self.serve(self.resync)

    def log_message(self, format, *args):
        pass


def main():
    parser = argparse.ArgumentParser(description="Serves organizations and members over HTTP.")
    parser.add_argument("--database", required=True)
    parser.add_argument("--port", type=int, default=8080)
    args = parser.parse_args()
    Handler.dsn = args.database
    ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
