/*
 * settings.c
 *		Values of the extension's configuration parameters (evpub.*).
 *
 * They are defined, and checked when they are set, by parameters.c.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "settings.h"

char	   *evpub_bootstrap_servers = NULL;
char	   *evpub_kafka_config_file = NULL;
bool		evpub_create_topics = true;
int			evpub_topic_partitions = -1;
int			evpub_topic_replication_factor = -1;
int			evpub_delivery = EVPUB_DEDUPLICATED;
int			evpub_on_error = EVPUB_ON_ERROR_BLOCK;
char	   *evpub_dead_letter_topic = NULL;
int			evpub_linger = 40;
int			evpub_decode_memory = 16 * 1024;
int			evpub_max_lag_size = -1;
char	   *evpub_min_disk_free = NULL;
char	   *evpub_relay_program = NULL;
char	   *evpub_default_topic = NULL;
int			evpub_max_event_bytes = 900 * 1024;
uint32		evpub_default_topic_generation = 0;
int			evpub_collapse_memory = 4 * 1024;
bool		evpub_capture_enabled = true;
char	   *evpub_allowed_topics = NULL;
char	   *evpub_extra_headers = NULL;
uint32		evpub_extra_headers_generation = 0;

bool
evpub_disk_free_parse(const char *text, double *percent, uint64 *bytes)
{
	char	   *end;
	int			megabytes;

	*percent = strtod(text, &end);
	*bytes = 0;
	if (end != text && strcmp(end, "%") == 0)
		return *percent >= 0 && *percent <= 100;
	*percent = 0;
	if (strcmp(text, "-1") == 0)
		return true;
	if (!parse_int(text, &megabytes, GUC_UNIT_MB, NULL) || megabytes < 0)
		return false;
	*bytes = (uint64) megabytes * 1024 * 1024;
	return true;
}

uint64
evpub_min_disk_free_bytes(uint64 total)
{
	double		percent;
	uint64		bytes;

	if (!evpub_disk_free_parse(evpub_min_disk_free, &percent, &bytes))
		return 0;
	return bytes + (uint64) (total / 100.0 * percent);
}
