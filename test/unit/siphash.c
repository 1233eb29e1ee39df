/*
 * siphash.c
 *		SipHash-2-4 of 128 bits, compared with the vectors of its reference
 *		implementation.
 */
#include "lib/backend.h"

#include "../../src/event/siphash.c"

/* Of the first so many bytes of 0, 1, 2, ... under the key 0, 1, ... 15. */
static const struct
{
	int			length;
	const char *result;
}			vectors[] = {
	{0, "a3817f04ba25a8e66df67214c7550293"},
	{1, "da87c1d86b99af44347659119b22fc45"},
	{8, "3b62a9ba6258f5610f83e264f31497b4"},
	{15, "5493e99933b0a8117e08ec0f97cfc3d9"},
	{16, "6ee2a4ca67b054bbfd3315bf85230577"},
	{63, "5150d1772f50834a503e069a973fbd7c"}
};

static void
hash(const uint8 *message, int length, int cut, char *text)
{
	uint8		key[EVPUB_SIPHASH_KEY_LENGTH];
	uint8		result[EVPUB_SIPHASH_LENGTH];
	EvpubSipHash state;

	for (int i = 0; i < EVPUB_SIPHASH_KEY_LENGTH; i++)
		key[i] = (uint8) i;
	evpub_siphash_init(&state, key);
	evpub_siphash_update(&state, message, cut);
	evpub_siphash_update(&state, message + cut, length - cut);
	evpub_siphash_final(&state, result);
	for (int i = 0; i < EVPUB_SIPHASH_LENGTH; i++)
		sprintf(text + 2 * i, "%02x", result[i]);
}

int
main(void)
{
	uint8		message[64];
	bool		right = true;
	bool		same = true;

	for (int i = 0; i < (int) sizeof(message); i++)
		message[i] = (uint8) i;
	for (int v = 0; v < (int) lengthof(vectors); v++)
	{
		for (int cut = 0; cut <= vectors[v].length; cut++)
		{
			char		text[2 * EVPUB_SIPHASH_LENGTH + 1];

			hash(message, vectors[v].length, cut, text);
			if (cut == 0)
				right = right && strcmp(text, vectors[v].result) == 0;
			same = same && strcmp(text, vectors[v].result) == 0;
		}
	}
	printf("1..2\n");
	printf("%s 1 - the vectors of the reference implementation\n", right ? "ok" : "not ok");
	printf("%s 2 - the same in two pieces, wherever they meet\n", same ? "ok" : "not ok");
	return right && same ? 0 : 1;
}
