/*
 * pins.c
 *		The topics that were published to, with their pinned partition counts.
 *
 * The partition count is pinned: clients follow a grown topic within seconds
 * and then most keys change their partition, so that events of one key stand
 * in two.  Growth is adopted only when everything sent under the old count is
 * confirmed.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "position/pins.h"

/* Name to index in position->topics. */
typedef struct TopicEntry
{
	const char *name;
	int			index;
	char		status;			/* for simplehash */
} TopicEntry;

#define SH_PREFIX topicname
#define SH_ELEMENT_TYPE TopicEntry
#define SH_KEY_TYPE const char *
#define SH_KEY name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static topicname_hash *topic_names = NULL;
static const EvpubTopic *indexed = NULL;	/* what it was made from */

/*
 * The worker asks these questions in each cycle, and the last one for each
 * transaction, and there may be ten thousand topics.  So the answers are kept until
 * a topic changes: whoever changes what they are made from calls
 * evpub_pins_changed().  The array and its length are compared as well, since the
 * worker goes back to a copy of its position when that could not be written.
 */
typedef struct Answers
{
	const EvpubTopic *topics;	/* what they were made from; NULL: none */
	int			ntopics;
	bool		wanted;
	bool		growth_wanted;
	bool		growth_pending;
	XLogRecPtr	first_line;		/* of growth that is not adopted */
} Answers;

static Answers answers;

void
evpub_pins_changed(void)
{
	answers.topics = NULL;
}

static void
look_at_topics(const EvpubPosition *position, Answers *found)
{
	memset(found, 0, sizeof(*found));
	found->topics = position->topics;
	found->ntopics = position->ntopics;
	found->first_line = PG_UINT64_MAX;
	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];

		if (!topic->durable && topic->partitions > 0)
			found->wanted = true;
		if (topic->grown > 0 && topic->grown_from == InvalidXLogRecPtr)
			found->growth_wanted = true;
		if (topic->grown > 0 && !topic->grown_durable)
			found->growth_pending = true;
		if (topic->grown_durable ||
			(topic->grown > 0 && topic->grown_from != InvalidXLogRecPtr))
			found->first_line = Min(found->first_line, topic->grown_from);
	}
}

static const Answers *
answers_of(const EvpubPosition *position)
{
	if (!answers.topics || answers.topics != position->topics ||
		answers.ntopics != position->ntopics)
		look_at_topics(position, &answers);
#ifdef USE_ASSERT_CHECKING
	{
		Answers		now;

		look_at_topics(position, &now);
		Assert(memcmp(&now, &answers, sizeof(now)) == 0);
	}
#endif
	return &answers;
}

/* Numbers rise from topic to topic. */
EvpubTopic *
evpub_pins_topic_of_number(EvpubPosition *position, uint32 number)
{
	int			low = 0;
	int			high = position->ntopics;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (position->topics[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < position->ntopics && position->topics[low].number == number)
		return &position->topics[low];
	return NULL;
}

static void
index_topic(EvpubPosition *position, int index)
{
	bool		found;
	TopicEntry *entry = topicname_insert(topic_names,
										 position->topics[index].name, &found);

	entry->index = index;
}

/*
 * The index is made anew when the position has another array of topics: the
 * publisher was retired and made anew, a topic was forgotten, or the topics were
 * read from file or WAL.
 */
static void
index_topics(EvpubPosition *position)
{
	if (topic_names && indexed == position->topics &&
		topic_names->members == (uint32) position->ntopics)
		return;
	/* there may be no memory for the new one */
	if (topic_names)
		topicname_destroy(topic_names);
	topic_names = NULL;
	topic_names = topicname_create(TopMemoryContext, 64, NULL);
	indexed = position->topics;
	for (int i = 0; i < position->ntopics; i++)
		index_topic(position, i);
}

static EvpubTopic *
add_topic(EvpubPosition *position, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	EvpubTopic *topic;

	if (position->ntopics == position->topic_slots)
	{
		int			slots = Max(8, position->topic_slots * 2);
		EvpubTopic *grown = palloc0(sizeof(EvpubTopic) * slots);

		if (position->ntopics > 0)
			memcpy(grown, position->topics, sizeof(EvpubTopic) * position->ntopics);
		position->topics = grown;
		position->topic_slots = slots;
		indexed = grown;		/* the same topics in the same order */
	}
	evpub_pins_changed();
	topic = &position->topics[position->ntopics];
	memset(topic, 0, sizeof(*topic));
	topic->name = pstrdup(name);
	topic->number = position->next_topic++;
	topic->last = palloc(sizeof(EvpubLast));
	topic->numbers = palloc(sizeof(uint32));
	index_topic(position, position->ntopics++);
	MemoryContextSwitchTo(old);
	return topic;
}

EvpubTopic *
evpub_pins_topic(EvpubPosition *position, const char *name)
{
	TopicEntry *entry;

	index_topics(position);
	entry = topicname_lookup(topic_names, name);
	return entry ? &position->topics[entry->index] : add_topic(position, name);
}

/*
 * The old arrays are freed.  Nobody has a copy of the position to go back to while
 * a count changes: counts change between two writes of the position, not in one.
 */
void
evpub_pins_set(EvpubPosition *position, EvpubTopic *topic, int32 partitions)
{
	EvpubLast  *last = MemoryContextAllocZero(TopMemoryContext,
											  sizeof(EvpubLast) * partitions);

	for (int32 p = 0; p < partitions; p++)
	{
		if (p < topic->partitions)
			last[p] = topic->last[p];
		else
			last[p].offset = -1;
	}
	pfree(topic->last);
	topic->last = last;
	if (partitions > topic->nnumbers)
	{
		topic->numbers = repalloc(topic->numbers, sizeof(uint32) * partitions);
		while (topic->nnumbers < partitions)
			topic->numbers[topic->nnumbers++] = position->next_number++;
	}
	topic->partitions = partitions;
	topic->before = 0;
	topic->grown = 0;
	topic->grown_from = InvalidXLogRecPtr;
	topic->grown_durable = false;
	topic->changed = true;
	evpub_pins_changed();
}

bool
evpub_pins_wanted(const EvpubPosition *position)
{
	return answers_of(position)->wanted;
}

/* ---- growth ---- */

bool
evpub_pins_growth_wanted(const EvpubPosition *position)
{
	return answers_of(position)->growth_wanted;
}

bool
evpub_pins_growth_pending(const EvpubPosition *position)
{
	return answers_of(position)->growth_pending;
}

XLogRecPtr
evpub_pins_growth_from(const EvpubPosition *position)
{
	return answers_of(position)->first_line;
}

void
evpub_pins_written(EvpubPosition *position)
{
	evpub_pins_changed();
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];
		bool		durable = topic->grown_from != InvalidXLogRecPtr;

		/*
		 * What commits from now on goes by the new count.  A person who has
		 * stopped the writers to add partitions waits for this line.
		 */
		if (durable && !topic->grown_durable)
			ereport(LOG,
					(errmsg("evpub: topic \"%s\" has grown from %d to %d partitions",
							topic->name, topic->partitions, topic->grown)));
		topic->grown_durable = durable;
	}
}

void
evpub_pins_logged(EvpubPosition *position, XLogRecPtr end)
{
	evpub_pins_changed();
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		topic->changed = evpub_position_says_before(position, topic);
		if (topic->grown > 0 && topic->grown_from == InvalidXLogRecPtr)
			topic->grown_from = end;
	}
}

void
evpub_pins_message(EvpubPosition *position, const EvpubPosition *message,
					XLogRecPtr end)
{
	evpub_pins_changed();
	for (int i = 0; i < message->ntopics; i++)
	{
		const EvpubTopic *sent = &message->topics[i];
		EvpubTopic *topic = evpub_pins_topic_of_number(position, sent->number);

		if (topic && sent->grown > topic->partitions && topic->durable &&
			sent->grown_from == InvalidXLogRecPtr && !topic->grown_durable)
		{
			topic->grown = sent->grown;
			topic->grown_from = end;
		}
	}
}

bool
evpub_pins_growth_undecided(const EvpubPosition *position, XLogRecPtr commit_lsn)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		const EvpubTopic *topic = &position->topics[i];

		if (topic->grown > 0 && !topic->grown_durable &&
			topic->grown_from != InvalidXLogRecPtr && commit_lsn > topic->grown_from)
			return true;
	}
	return false;
}

bool
evpub_pins_growth_due(const EvpubPosition *position, XLogRecPtr commit_lsn)
{
	for (int i = 0; i < position->ntopics; i++)
		if (position->topics[i].grown_durable &&
			commit_lsn > position->topics[i].grown_from)
			return true;
	return false;
}

void
evpub_pins_adopt_growth(EvpubPosition *position, XLogRecPtr commit_lsn,
						XLogRecPtr put_lsn)
{
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];
		int32		before;
		XLogRecPtr	line;

		if (!topic->grown_durable || commit_lsn <= topic->grown_from)
			continue;
		before = topic->partitions;
		line = topic->grown_from;
		evpub_pins_set(position, topic, topic->grown);
		topic->before = before;
		topic->before_line = line;
		topic->before_until = put_lsn;
		topic->relay_knows = false;
	}
}

/* ---- what a person decides ---- */

bool
evpub_pins_accept_remade(EvpubPosition *position)
{
	bool		accepted = false;

	evpub_pins_changed();
	for (int i = 0; i < position->ntopics; i++)
	{
		EvpubTopic *topic = &position->topics[i];

		if (!topic->remade)
			continue;
		topic->remade = false;
		topic->partitions = -1;
		topic->before = 0;
		topic->durable = false;
		topic->grown = 0;
		topic->grown_from = InvalidXLogRecPtr;
		topic->grown_durable = false;
		topic->changed = true;
		accepted = true;
		ereport(LOG,
				(errmsg("evpub: topic \"%s\" was accepted as it is now, by user request",
						topic->name)));
	}
	return accepted;
}

bool
evpub_pins_forget_topic(EvpubPosition *position, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	EvpubTopic *left = palloc0(sizeof(EvpubTopic) * (position->ntopics + 8));
	int			n = 0;

	for (int i = 0; i < position->ntopics; i++)
		if (strcmp(position->topics[i].name, name) != 0)
			left[n++] = position->topics[i];
	MemoryContextSwitchTo(old);
	if (n == position->ntopics)
	{
		pfree(left);
		return false;
	}
	evpub_pins_changed();
	position->topics = left;
	position->topic_slots = position->ntopics + 8;
	position->ntopics = n;
	return true;
}
