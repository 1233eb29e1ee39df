/*
 * kafkafiles.c
 *		The files that the Kafka settings name: certificates, keys, keytabs.
 *
 * A renewed certificate has the same path, so nothing in the settings says that
 * it is another.  librdkafka reads it once.  A relay that streams goes on with the
 * old certificate until its next connection, which may be refused.  So a reload
 * looks at these files.
 *
 * The worker does not read the settings' file, which holds passwords.  The relay
 * reports the paths, and what the files were like before it read them.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "filemark.h"
#include "publisher/kafkafiles.h"

/* The text behind this one, or NULL at the end. */
static const char *
next_text(const char *text, const char *end)
{
	text += strlen(text) + 1;
	return text < end ? text : NULL;
}

bool
evpub_kafka_files_take(EvpubKafkaFiles *files, const EvpubFrame *frame)
{
	const char *version_end = memchr(frame->data, '\0', frame->length);
	Size		length;
	int			texts = 0;

	if (files->pairs)
		pfree(files->pairs);
	files->pairs = NULL;
	files->length = 0;
	if (version_end == NULL)
		return true;			/* no files */
	length = frame->data + frame->length - (version_end + 1);
	if (length == 0)
		return true;
	if (version_end[length] != '\0')
		return false;
	files->pairs = MemoryContextAlloc(TopMemoryContext, length);
	memcpy(files->pairs, version_end + 1, length);
	files->length = length;
	for (Size i = 0; i < length; i++)
		texts += files->pairs[i] == '\0';
	if (texts % 2 == 0)
		return true;

	/* nobody must look for what belongs to the last path */
	pfree(files->pairs);
	files->pairs = NULL;
	files->length = 0;
	return false;
}

bool
evpub_kafka_files_changed(const EvpubKafkaFiles *files)
{
	const char *path = files->pairs;
	const char *end;

	/* no files: even adding 0 to a null pointer is not defined */
	if (path == NULL)
		return false;
	end = path + files->length;
	while (path != NULL)
	{
		const char *old = next_text(path, end);
		char		mark[EVPUB_FILEMARK_MAX];

		evpub_filemark(path, mark, sizeof(mark));
		if (strcmp(old, mark) != 0)
			return true;
		path = next_text(old, end);
	}
	return false;
}
