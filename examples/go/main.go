// A consumer that keeps a copy of the tables organization and member, by the rules of
// docs/consumers.md, which the comments name by their numbers.  It reads rows back over
// HTTP, keeps its offsets in Kafka, and commits them after the transaction of the copy.
// What was applied, but not committed to Kafka, when it was killed comes again, and is
// dropped by its id, which the copy's transaction has stored.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Event has the fields that this consumer needs.
type Event struct {
	ID, Type string
	Tenant   *string
	PK       *struct{ ID int64 } // exact, where a float would round (rule 8)
	Data     struct {
		Run, Type string
		Partial   bool
	}
}

// parse returns nil for a tombstone, or another value that is no event (rule 9).
func parse(record *kgo.Record) *Event {
	var event Event
	if json.Unmarshal(record.Value, &event) != nil || len(event.ID) < 16 || event.Type == "" {
		log.Printf("no event at %s/%d/%d", record.Topic, record.Partition, record.Offset)
		return nil
	}
	return &event
}

type Consumer struct {
	kafka  *kgo.Client
	source *Source
	copy   *pgxpool.Pool
}

func main() {
	brokers := flag.String("brokers", "localhost:9092", "addresses of Kafka")
	topic := flag.String("topic", "cms-hr-operation", "topic that evpub publishes to")
	cms := flag.String("cms", "http://localhost:8080", "address of the CMS")
	dsn := flag.String("copy", "", "database with the tables of copy.sql")
	session := flag.Duration("session-timeout", 45*time.Second, "after which a consumer that is gone is replaced")
	age := flag.Duration("metadata-max-age", 5*time.Minute, "after which a partition that was added is seen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	pool, err := pgxpool.New(ctx, *dsn)
	if err != nil {
		log.Fatal(err)
	}
	kafka, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(*brokers, ",")...),
		kgo.ConsumerGroup("copy"), kgo.ConsumeTopics(*topic),
		kgo.SessionTimeout(*session), kgo.HeartbeatInterval(*session/8),
		kgo.MetadataMaxAge(*age), kgo.MetadataMinAge(min(*age, 5*time.Second)),
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// A partition without an offset, one that was added too, is read from 0 on, and an
		// offset that Kafka does not have, also that one, is an error: see lost().
		kgo.ConsumeResetOffset(kgo.NoResetOffset().At(0)),
		kgo.DisableAutoCommit(),
		// partitions stay until the batch is done, as long as this process keeps up
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			log.Printf("assigned %s", places(added))
		}))
	if err != nil {
		log.Fatal(err)
	}
	c := &Consumer{kafka: kafka, source: NewSource(*cms), copy: pool}
	go c.resyncs(ctx)
	for ctx.Err() == nil {
		if err := c.poll(ctx); err != nil && ctx.Err() == nil {
			log.Fatal(err) // whoever started it starts it again
		}
	}
	kafka.CloseAllowingRebalance() // leaves the group
}

func places(partitions map[string][]int32) string {
	var all []string
	for _, numbers := range partitions {
		for _, number := range numbers {
			all = append(all, fmt.Sprintf("%d@", number))
		}
	}
	return strings.Join(all, " ")
}

// poll applies what has come, partition by partition, each in order (rule 5).
func (c *Consumer) poll(ctx context.Context) error {
	fetches := c.kafka.PollRecords(ctx, 500)
	defer c.kafka.AllowRebalance()
	for _, failed := range fetches.Errors() {
		if errors.Is(failed.Err, kerr.OffsetOutOfRange) {
			if err := c.lost(ctx, failed.Topic, failed.Partition); err != nil {
				return err
			}
		} else if !errors.Is(failed.Err, context.Canceled) {
			log.Printf("%s/%d: %v", failed.Topic, failed.Partition, failed.Err)
		}
	}
	var err error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		for wait := time.Second / 5; err == nil && len(p.Records) > 0; wait = min(2*wait, 5*time.Second) {
			// Nothing of a batch that failed is there.  It is tried again until it is:
			// what comes behind must not overtake it, and an outage is no dead letter.
			failed := c.applyBatch(ctx, p.Topic, p.Partition, p.Records)
			if failed == nil {
				break
			}
			log.Printf("tried again: %v", failed)
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-time.After(wait):
			}
		}
		if err == nil && len(p.Records) > 0 {
			// after the copy's transaction; if it fails, the records come again
			if failed := c.kafka.CommitRecords(ctx, p.Records...); failed != nil {
				log.Printf("offset not committed: %v", failed)
			}
		}
	})
	return err
}

// lost: retention has removed records that were not read, and no event says so.
func (c *Consumer) lost(ctx context.Context, topic string, partition int32) error {
	starts, err := kadm.NewClient(c.kafka).ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	start, _ := starts.Lookup(topic, partition)
	if err := want(ctx, c.copy, fmt.Sprintf("%s/%d begins at %d", topic, partition, start.Offset)); err != nil {
		return err
	}
	c.kafka.SetOffsets(map[string]map[int32]kgo.EpochOffset{
		topic: {partition: {Epoch: -1, Offset: start.Offset}}})
	return nil
}

// applyBatch is one transaction: the effect of the events, and their ids.
func (c *Consumer) applyBatch(ctx context.Context, topic string, partition int32, records []*kgo.Record) error {
	var events []*Event
	tenants := map[string]bool{}
	for _, record := range records {
		if event := parse(record); event != nil {
			events = append(events, event)
			if event.Tenant != nil {
				tenants[*event.Tenant] = true
			}
		}
	}
	db, err := c.copy.Begin(ctx)
	if err != nil {
		return err
	}
	defer db.Rollback(context.Background())
	copy := &Copy{ctx: ctx, tx: db}
	last := copy.Lock(topic, partition)
	copy.LockTenants(sorted(tenants))
	for _, event := range events {
		publisher := event.ID[:16]
		if event.ID <= last[publisher] {
			log.Printf("a duplicate: %s", event.ID) // rule 4
			continue
		}
		if err := c.apply(ctx, copy, event); err != nil {
			return err
		}
		last[publisher] = event.ID
	}
	copy.SetApplied(topic, partition, last)
	if copy.err != nil {
		return copy.err
	}
	return db.Commit(ctx)
}

func sorted(set map[string]bool) []string {
	var all []string
	for one := range set {
		all = append(all, one)
	}
	sort.Strings(all)
	return all
}

func (c *Consumer) apply(ctx context.Context, copy *Copy, event *Event) error {
	kind := event.Type
	switch kind {
	case "evpub.gap": // of all partitions and topics one run is enough
		return want(ctx, copy.tx, "evpub.gap "+event.ID[:len(event.ID)-9])
	case "evpub.skipped": // stands for another one
		if kind = event.Data.Type; event.PK == nil {
			return want(ctx, copy.tx, "evpub.skipped "+event.ID)
		}
	}
	dot := strings.LastIndexByte(kind, '.')
	table := kind[:max(dot, 0)]
	if rows[table] == "" || event.Tenant == nil {
		return nil // rule 6
	}
	switch kind[dot+1:] {
	case "created", "updated", "resynced", "deleted":
		if event.PK != nil {
			return c.refresh(ctx, copy, table, *event.Tenant, event.PK.ID)
		}
	case "truncated":
		return c.forget(ctx, copy, table, *event.Tenant, "")
	case "resync_started":
		if !event.Data.Partial {
			copy.StartRun(table, *event.Tenant, event.Data.Run)
		}
	case "resync_finished":
		if !event.Data.Partial {
			return c.forget(ctx, copy, table, *event.Tenant, event.Data.Run) // rule 11
		}
	}
	return nil
}

// refresh makes the copy of a row what the source has, whatever the event says.  So it
// does not matter in which order two consumers come to it, which happens when a topic
// grows.  Rule 2: what is not there is deleted, or will be created.
func (c *Consumer) refresh(ctx context.Context, copy *Copy, table, tenant string, id int64) error {
	var organization Organization
	var member Member
	var row any = &organization
	if table == "member" {
		row = &member
	}
	found, err := c.source.get(ctx, table, tenant, id, row)
	switch {
	case err != nil:
		return err
	case !found:
		copy.Delete(table, tenant, []int64{id})
	case table == "member":
		copy.AddOrganization(tenant, member.Organization) // rule 3
		copy.StoreMember(tenant, member)
	default:
		copy.StoreOrganization(tenant, organization)
	}
	return nil
}

// forget deletes the rows that a run did not name, or those of before a TRUNCATE, when
// the source does not have them: it may have been read before older events were.
func (c *Consumer) forget(ctx context.Context, copy *Copy, table, tenant, run string) error {
	ids := copy.NotOfRun(table, tenant, run)
	for len(ids) > 0 {
		some := ids[:min(len(ids), 100)]
		ids = ids[len(some):]
		there, err := c.source.Present(ctx, table, tenant, some)
		if err != nil {
			return err
		}
		var gone []int64
		for _, id := range some {
			if !there[id] {
				gone = append(gone, id)
			}
		}
		copy.Delete(table, tenant, gone)
	}
	return nil
}
