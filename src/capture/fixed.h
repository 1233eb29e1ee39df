/*
 * fixed.h
 *		Settings under which values are printed, whatever the session has.
 */
#ifndef EVPUB_CAPTURE_FIXED_H
#define EVPUB_CAPTURE_FIXED_H

#include "postgres.h"

/* Bits for the settings that a type's output may obey. */
typedef uint32 EvpubFixed;

/*
 * Those of a type's output function; "in_json" asks for those of to_json() and
 * to_jsonb(), which may call a cast of the type instead.
 */
extern EvpubFixed evpub_fixed_of(Oid type, bool in_json);

/*
 * Set those that the session has otherwise; evpub_fixed_end() with the result
 * takes them back.  After an error the end of the (sub)transaction does.
 */
extern int	evpub_fixed_begin(EvpubFixed settings);
extern void evpub_fixed_end(int nest);

/* The function of a type's cast to json, which to_json() uses; or InvalidOid. */
extern Oid	evpub_json_cast(Oid type);

#endif							/* EVPUB_CAPTURE_FIXED_H */
