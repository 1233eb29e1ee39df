package main

import (
	"context"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Copy is the copy's tables in one transaction.  The first error stays, and nothing is
// done after it.
type Copy struct {
	ctx context.Context
	tx  pgx.Tx
	err error
}

func (c *Copy) do(sql string, values ...any) {
	if c.err == nil {
		_, c.err = c.tx.Exec(c.ctx, sql, values...)
	}
}

// Lock keeps other consumers from this partition, one that has lost it without knowing
// yet, and returns the largest id of each publisher.
func (c *Copy) Lock(topic string, partition int32) map[string]string {
	c.do("SELECT pg_advisory_xact_lock(hashtext($1), $2)", topic, partition)
	last := map[string]string{}
	if c.err == nil {
		var rows pgx.Rows
		rows, c.err = c.tx.Query(c.ctx,
			"SELECT publisher, id FROM applied WHERE (topic, partition) = ($1, $2)", topic, partition)
		if c.err == nil {
			var publisher, id string
			_, c.err = pgx.ForEachRow(rows, []any{&publisher, &id}, func() error {
				last[publisher] = id
				return nil
			})
		}
	}
	return last
}

// LockTenants: a row is read back and stored under this lock, so that a consumer does not
// store what it has read before another one did.  In one order, or two could wait for
// each other.
func (c *Copy) LockTenants(tenants []string) {
	for _, tenant := range tenants {
		c.do("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", tenant)
	}
}

func (c *Copy) SetApplied(topic string, partition int32, last map[string]string) {
	for publisher, id := range last {
		c.do(`INSERT INTO applied VALUES ($1, $2, $3, $4)
			ON CONFLICT (topic, partition, publisher) DO UPDATE SET id = excluded.id`,
			topic, partition, publisher, id)
	}
}

// AddOrganization: one that is not here yet; an event of its own follows.
func (c *Copy) AddOrganization(tenant string, o Organization) {
	c.do("INSERT INTO organization VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", tenant, o.ID, o.Name)
}

func (c *Copy) StoreOrganization(tenant string, o Organization) {
	c.do(`INSERT INTO organization (tenant_id, id, name, run)
		VALUES ($1, $2, $3, (SELECT run FROM run WHERE (tenant_id, table_name) = ($1, 'organization')))
		ON CONFLICT (tenant_id, id) DO UPDATE SET (name, run) = (excluded.name, excluded.run)`,
		tenant, o.ID, o.Name)
}

func (c *Copy) StoreMember(tenant string, m Member) {
	c.do(`INSERT INTO member (tenant_id, id, organization_id, name, run)
		VALUES ($1, $2, $3, $4, (SELECT run FROM run WHERE (tenant_id, table_name) = ($1, 'member')))
		ON CONFLICT (tenant_id, id) DO UPDATE
		SET (organization_id, name, run) = (excluded.organization_id, excluded.name, excluded.run)`,
		tenant, m.ID, m.Organization.ID, m.Name)
}

// Delete: members go with their organization (rule 10).
func (c *Copy) Delete(table, tenant string, ids []int64) {
	if len(ids) > 0 {
		c.do("DELETE FROM "+table+" WHERE tenant_id = $1 AND id = ANY($2)", tenant, ids)
	}
}

// NotOfRun returns the rows that this run did not store; run "": all rows of the tenant.
func (c *Copy) NotOfRun(table, tenant, run string) []int64 {
	if c.err != nil {
		return nil
	}
	var rows pgx.Rows
	rows, c.err = c.tx.Query(c.ctx,
		"SELECT id FROM "+table+" WHERE tenant_id = $1 AND coalesce(run <> $2, true)", tenant, run)
	if c.err != nil {
		return nil
	}
	var ids []int64
	ids, c.err = pgx.CollectRows(rows, pgx.RowTo[int64])
	return ids
}

func (c *Copy) StartRun(table, tenant, run string) {
	c.do(`INSERT INTO run VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id, table_name) DO UPDATE SET run = excluded.run`, tenant, table, run)
}

// execer is a transaction, or a pool.
type execer interface {
	Exec(ctx context.Context, sql string, values ...any) (pgconn.CommandTag, error)
}

// want: all rows are to be published anew.  The same reason counts once.
func want(ctx context.Context, db execer, reason string) error {
	log.Printf("a resync is needed: %s", reason)
	_, err := db.Exec(ctx, "INSERT INTO resync VALUES ($1) ON CONFLICT DO NOTHING", reason)
	return err
}

// resyncs asks for those that are wanted, beside the loop, since they may take longer
// than Kafka waits for a consumer.  Of several consumers one does it.
func (c *Consumer) resyncs(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.resync(ctx); err != nil && ctx.Err() == nil {
			log.Printf("resync: %v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (c *Consumer) resync(ctx context.Context) error {
	db, err := c.copy.Acquire(ctx)
	if err != nil {
		return err
	}
	defer db.Release()
	// the very first start wants all rows ("To begin")
	if _, err = db.Exec(ctx, "INSERT INTO resync VALUES ('first start') ON CONFLICT DO NOTHING"); err != nil {
		return err
	}
	var mine bool
	if err = db.QueryRow(ctx, "SELECT pg_try_advisory_lock(0, 0)").Scan(&mine); err != nil || !mine {
		return err
	}
	defer db.Exec(context.Background(), "SELECT pg_advisory_unlock(0, 0)")
	rows, _ := db.Query(ctx, "SELECT reason FROM resync WHERE NOT done")
	reasons, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(reasons) == 0 {
		return err
	}
	tenants := map[string][]string{}
	for _, table := range []string{"organization", "member"} {
		rows, _ := db.Query(ctx, "SELECT DISTINCT tenant_id FROM "+table)
		if tenants[table], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
	}
	if err = c.source.Resync(ctx, tenants); err != nil {
		return err
	}
	_, err = db.Exec(ctx, "UPDATE resync SET done = true WHERE reason = ANY($1)", reasons)
	log.Printf("resync done: %v", reasons)
	return err
}
