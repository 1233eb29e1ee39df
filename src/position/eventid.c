/*
 * eventid.c
 *		The id of an event, as text and as numbers.
 *
 * Publisher id (16 digits), timeline (8), end of the commit record (16), number
 * (8), in hexadecimal, with a dash between each two; event/output.c writes them.
 */
#include "postgres.h"

#include "position/eventid.h"

/* So many digits; false if there is anything else. */
static bool
parse_hex(const char *text, int digits, uint64 *value)
{
	*value = 0;
	for (int i = 0; i < digits; i++)
	{
		char		c = text[i];

		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uint64) (c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value << 4 | (uint64) (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			*value = *value << 4 | (uint64) (c - 'A' + 10);
		else
			return false;
	}
	return true;
}

bool
evpub_id_parse(const char *text, EvpubId *id)
{
	uint64		timeline;
	uint64		number;

	if (!parse_hex(text, 16, &id->publisher_id) || text[16] != '-' ||
		!parse_hex(text + 17, 8, &timeline) || text[25] != '-' ||
		!parse_hex(text + 26, 16, &id->lsn) || text[42] != '-' ||
		!parse_hex(text + 43, 8, &number))
		return false;
	id->timeline = (TimeLineID) timeline;
	id->number = (uint32) number;
	return id->publisher_id != 0;
}

void
evpub_id_text(const EvpubId *id, char *text)
{
	snprintf(text, EVPUB_ID_LENGTH + 1, "%016llx-%08X-%016llX-%08X",
			 (unsigned long long) id->publisher_id, id->timeline,
			 (unsigned long long) id->lsn, id->number);
}
